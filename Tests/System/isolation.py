#!/usr/bin/python3
"""The isolation matrix: hostile packets of every kind, and who must not see them.

    isolation.py [--gateway shared|separate] [--only KIND] [--json FILE] [--verbose]

Prints {"hostile_packets": N, "crossings": N}; ends with 1 where there was a crossing, with 3
where a watcher was blind. Needs root.
"""

import argparse
import json
import sys
from pathlib import Path

import hostileinside
import hostileoutside
from lab import Lab
from matrix import Matrix, Result

KINDS = hostileinside.KINDS + hostileoutside.KINDS


def measure(gateway: str | None = None, is_verbose: bool = False, kinds=KINDS) -> Result:
    """Runs the matrix in namespaces of its own and removes them."""
    lab = Lab()
    try:
        return Matrix(lab, gateway).run(kinds, is_verbose)
    except BaseException:
        print(lab.logs(), file=sys.stderr)
        raise
    finally:
        lab.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Counts packets that cross from one tenant of a gateway to another.")
    parser.add_argument(
        "--gateway", choices=("shared", "separate"),
        help="one process for all tenants, or one each (default: one, where the daemon can)")
    parser.add_argument("--only", metavar="KIND", help="one kind, by its function's name")
    parser.add_argument("--json", metavar="FILE", help="writes the counts there, too")
    parser.add_argument("--verbose", action="store_true", help="shows kinds and crossings")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if options.only in (None, kind.__name__)]
    result = measure(options.gateway, options.verbose, kinds)
    if options.verbose or result.blind:
        print("\n".join([*result.crossings, *result.blind]), file=sys.stderr)
    text = json.dumps(result.counts())
    if options.json:
        Path(options.json).write_text(text + "\n")
    print(text)
    return 1 if result.crossings else 3 if result.blind else 0


if __name__ == "__main__":
    sys.exit(main())
