"""Command line of the tenants benchmark. Every step is serial:

1. build the load tools, the emulator of peers and the programs
2. two tenants: TCP shares, then the victim's round trips idle and beside every flood, by turns
3. a crowd of tenants and peers: memory, start, the price of a packet, changes
4. one tenant with as many peers: the same prices and changes
5. what tests of the whole system measure: isolation, failover, upgrade
6. print medians with their spread; write JSON
"""

import argparse
import os
import shlex
import statistics
import sys
import time

from harness import build, machine, report
from harness.lab import Lab, LabError
from tenants import others
from tenants.gateway import Gateway, SeparateDaemons
from tenants.rivals import FLOODS, Rivals, jain, victim_share
from tenants.scale import Crowd

SYSTEM = "gateway"
# The keys that are written, and what explains them.
TITLES = {
    "crossings": "packets that crossed between tenants",
    "hostile_packets": "  of so many hostile ones",
    "jain_1_vs_32_flows": "Jain index, 1 against 32 flows, the worst of:",
    "jain_uplink": "  from HQ, the gateway's uplink the bottleneck",
    "jain_line": "  to HQ, equal lines of the branches the bottleneck",
    "victim_tcp_share": "victim's TCP of its half, the worst of these",
    "jain_down": "  Jain index from HQ without limits *",
    "jain_up": "  Jain index to HQ without limits *",
    "victim_rtt_p99_added_us": "RTT p99 added by a neighbour, µs, the worst of:",
    **{f"victim_rtt_added_{flood}_us": f"  its flood of {title}" for flood, title in (
        ("data", "data"), ("handshakes", "handshakes"), ("forged", "forged initiations"),
        ("flows", "new flows"), ("changes", "configuration changes"))},
    "victim_rtt_idle_p99_us": "  RTT p99 idle, µs",
    "failover_ms": "failover until inner packets flow, ms",
    "upgrade_gap_ms": "longest gap of an upgrade, ms",
    "peers": "peers",
    "bytes_per_idle_peer": "bytes per idle peer, with its session",
    "bytes_per_tenant": "  bytes per tenant without peers",
    "start_s": "  start until all are served, s",
    "handshakes_s": "  until all have sessions, s",
    "packet_cost_ratio_10000_peers": "price of a packet, all peers against one",
    "packet_cost_us": "  with one peer, µs",
    "packet_cost_ratio_one_tenant": "  the ratio with all peers in one tenant",
    "change_ms": "a change in force p99, ms, the worse of:",
    "change_many_tenants_ms": "  in one of many tenants",
    "change_one_tenant_ms": "  in a tenant with all peers",
}
FIGURES = ("fairness", "floods", "crowd", "one_tenant", *others.FIGURES)
GATEWAYS = {"shared": Gateway, "separate": SeparateDaemons}
UPLINK_MEGABITS = 400
LINE_MEGABITS = 1_000
# Without limits both branches want the same processor, whose scheduler then decides.
DECIDING_WAYS = ("uplink", "line")
PACKET_RATE = 20_000
BUSY_WARNING_SHARE = 0.15
STARTED_AT = time.monotonic()


def main():
    """Measures as the command line asks."""
    options = parse_arguments()
    results = report.Results()
    begun = time.monotonic()
    try:
        tools = build.build_tools(build.TUNNEL_TOOLS)
        programs = os.environ.get("PROGRAMS") or build.build_products(
            "branchlined", "branchline", "branchline-coordinator", "peer-emulator")
    except LabError as error:
        sys.exit(f"tenants: {error}")
    programs = os.path.abspath(programs)
    print(f"built in {time.monotonic() - begun:.0f} s", file=sys.stderr)
    warn_when_busy()
    steps = {"rivals": measure_rivals, "crowd": measure_crowd, "one_tenant": measure_one_tenant}
    names = ["rivals"] if {"fairness", "floods"} & set(options.figures) else []
    names += [name for name in options.figures if name not in ("fairness", "floods")]
    options.deadline = time.monotonic() + options.time_limit_s
    with Lab("bench") as lab:
        for name in names:
            note(f"measuring {name}")
            try:
                if name in steps:
                    steps[name](lab, programs, tools, options, results)
                else:
                    measure_script(name, lab, programs, options, results)
            except (LabError, OSError, ValueError, KeyError) as error:
                results.fail(SYSTEM, name, error)
                note(f"{name}: not measured: {error}")
    publish(options, results)
    if not results.has(SYSTEM):
        sys.exit("tenants: nothing was measured")


def measure_rivals(lab, programs, tools, options, results):
    """Shares of TCP and round trips of two tenants, round by round."""
    rivals = Rivals(lab, programs, tools, GATEWAYS[options.gateway], options.pins, options.workers)
    try:
        for number in range(options.rounds):
            if "fairness" in options.figures:
                measure_fairness(rivals, options, results, number)
            if "floods" in options.figures:
                measure_floods(rivals, options, results, number)
    finally:
        rivals.stop()


def measure_fairness(rivals, options, results, number):
    """One flow of the victim against many of its neighbour."""
    ways = {"uplink": {"is_down": True, "uplink": UPLINK_MEGABITS},
            "line": {"is_down": False, "line": LINE_MEGABITS},
            "down": {"is_down": True}, "up": {"is_down": False}}
    shares = {}
    for way, conditions in ways.items():
        if options.quick and way not in DECIDING_WAYS:
            continue
        shares[way] = rivals.shares(options.tcp_s, **conditions)
        note(f"  {way}: victim {shares[way][0]:.3f} Gbit/s, neighbour {shares[way][1]:.3f}")
    indices = {way: jain(pair) for way, pair in shares.items()}
    results.add(SYSTEM, number, {
        "jain_1_vs_32_flows": min(indices[way] for way in DECIDING_WAYS),
        **{f"jain_{way}": index for way, index in indices.items()},
        "victim_tcp_share": min(victim_share(shares[way]) for way in DECIDING_WAYS)})


def measure_floods(rivals, options, results, number):
    """What each flood of the neighbour adds to the victim's p99."""
    added, quiet = {}, []
    for flood in FLOODS:
        idle = rivals.round_trips(options.interval_us, options.probes)["p99_us"]
        times, flooded = rivals.round_trips_beside(flood, options.interval_us, options.probes)
        added[flood] = times["p99_us"] - idle
        quiet.append(idle)
        said = ", ".join(f"{key} {report.short(value)}" for key, value in flooded.items())
        note(f"  {flood}: p50 {times['p50_us']:.0f}, p99 {times['p99_us']:.0f} µs, idle p99 "
             f"{idle:.0f}; answered {times['received'] / times['sent']:.1%}; {said}")
    results.add(SYSTEM, number, {
        "victim_rtt_idle_p99_us": statistics.median(quiet),
        "victim_rtt_p99_added_us": max(added.values()),
        **{f"victim_rtt_added_{flood}_us": value for flood, value in added.items()}})


def measure_crowd(lab, programs, tools, options, results):
    """Many tenants with many peers each."""
    if options.gateway == "separate":
        raise LabError("only a gateway has many tenants on one port")
    crowd = Crowd(lab, programs, tools, GATEWAYS[options.gateway], options.pins,
                  options.tenants, options.peers // options.tenants)
    try:
        one, empty = crowd.empty_bytes(1), crowd.empty_bytes(options.tenants)
        start_s = crowd.start()
        answer = crowd.shake_hands()
        time.sleep(1)
        results.add(SYSTEM, 0, {
            "peers": crowd.count, "start_s": start_s, "handshakes_s": answer["seconds"],
            "bytes_per_tenant": (empty - one) / max(options.tenants - 1, 1),
            "bytes_per_idle_peer": (crowd.gateway.resident_bytes() - empty) / crowd.count})
        note(f"  {answer['completed']:.0f} handshakes, p99 {answer['p99_ms']:.1f} ms, "
             f"{answer['cookies']:.0f} cookies; start {start_s:.2f} s")
        measure_cost(crowd, options, results, "packet_cost_ratio_10000_peers")
        crowd.check_changes_are_in_force()
        measure_changes(crowd, options, results, "change_many_tenants_ms")
    finally:
        crowd.stop()


def measure_one_tenant(lab, programs, tools, options, results):
    """One tenant that has all the peers."""
    crowd = Crowd(
        lab, programs, tools, GATEWAYS[options.gateway], options.pins, 1, options.peers)
    try:
        crowd.start()
        crowd.shake_hands()
        measure_cost(crowd, options, results, "packet_cost_ratio_one_tenant")
        crowd.check_changes_are_in_force()
        measure_changes(crowd, options, results, "change_one_tenant_ms")
    finally:
        crowd.stop()


def measure_cost(crowd, options, results, key):
    """The price of a packet, spread over all peers and with one, by turns."""
    crowd.start_echo()
    for number in range(options.rounds):
        prices = {}
        for is_spread in ((True, False) if number % 2 else (False, True)):
            prices[is_spread] = crowd.packet_cost(is_spread, PACKET_RATE, options.cost_s)
        note(f"  a packet: {prices[True]:.2f} µs with all peers, {prices[False]:.2f} with one")
        results.add(SYSTEM, number, {key: prices[True] / prices[False],
                                     "packet_cost_us": prices[False]})


def measure_changes(crowd, options, results, key):
    """Changes of one tenant."""
    times = crowd.change_times(options.changes)
    for name, values in times.items():
        note(f"  {name}: median {statistics.median(values):.2f}, longest {max(values):.2f} ms")
    merged = sorted(value for values in times.values() for value in values)
    results.add(SYSTEM, 0, {key: merged[min(len(merged) - 1, int(0.99 * len(merged)))]})
    worse = [value for value in (results.median(SYSTEM, "change_many_tenants_ms"),
                                 results.median(SYSTEM, "change_one_tenant_ms"))
             if value is not None]
    results.add(SYSTEM, 0, {"change_ms": max(worse)})


def measure_script(name, lab, programs, options, results):
    """A figure that a script of the system tests measures."""
    left = options.deadline - time.monotonic()
    if left < 1:
        raise LabError(f"no more than {options.time_limit_s} s")
    results.add(SYSTEM, 0, others.measure(name, lab, programs, left))


def parse_arguments():
    """Returns the options; ends the program on wrong ones."""
    parser = argparse.ArgumentParser(
        prog="tenants.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures a gateway with many tenants, on this machine.",
        epilog="environment:\n  PROGRAMS   folder of programs to measure in place of a release "
        "build\n  LOG_LEVEL  given to the daemons (default: error)\n\n"
        "example:\n  Tests/Benchmarks/tenants.sh --figures fairness,floods --rounds 3")
    parser.add_argument("--quick", action="store_true",
                        help="small numbers, done within 60 s after the build; figures are rough")
    parser.add_argument("--json", metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--figures", metavar="A,B", help=f"only these of {','.join(FIGURES)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 5, with --quick 1")
    parser.add_argument("--peers", type=int, metavar="N", help="default: 10000, with --quick 1000")
    parser.add_argument("--tenants", type=int, metavar="N", help="default: 100, with --quick 20")
    parser.add_argument("--gateway", choices=GATEWAYS, default="shared",
                        help="one process for all tenants (default), or one each to compare with")
    parser.add_argument("--no-pins", dest="pins", action="store_false",
                        help="do not give the gateway a processor of its own")
    options = parser.parse_args()
    options.figures = options.figures.split(",") if options.figures else list(FIGURES)
    for figure in options.figures:
        if figure not in FIGURES:
            parser.error(f"no figure {figure}; there are {', '.join(FIGURES)}")
    quick = {"rounds": 1, "peers": 1000, "tenants": 20, "tcp_s": 2, "interval_us": 2_000,
             "probes": 300, "cost_s": 0.6, "changes": 10, "time_limit_s": 53}
    full = {"rounds": 5, "peers": 10_000, "tenants": 100, "tcp_s": 6, "interval_us": 2_000,
            "probes": 2_000, "cost_s": 4, "changes": 40, "time_limit_s": 1_800}
    for name, value in (quick if options.quick else full).items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    for name in ("rounds", "peers", "tenants"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if options.peers < options.tenants:
        parser.error("each tenant has a peer at least")
    options.pins = options.pins and os.cpu_count() > 1
    options.workers = 1 if options.pins else None
    return options


def publish(options, results):
    """Prints the table, the machine and the command; writes JSON."""
    rows = [[title, results.cell(SYSTEM, key)] for key, title in TITLES.items()]
    print("\n".join(report.table(["figure", "median (spread)"], rows)))
    where = ("the gateway has a processor to itself" if options.pins
             else "all share the processors")
    print(f"\n{machine.description()}\n{GATEWAYS[options.gateway].label}, {where}; "
          f"{options.rounds} rounds; TCP is CUBIC, {options.tcp_s} s\n"
          "* what both branches share is a processor of this machine; its scheduler decides\n"
          f"{time.strftime('%Y-%m-%d')}: "
          f"Tests/Benchmarks/tenants.sh {shlex.join(sys.argv[1:])}")
    report.explain_missing({figure: reason for (_, figure), reason in results.reasons.items()})
    if options.json:
        report.write_json(options.json, {key: results.median(SYSTEM, key) for key in TITLES})


def warn_when_busy():
    """Says so when the machine has other work: round trips are then those of its scheduler."""
    before = machine.busy_cpu_seconds()
    time.sleep(0.5)
    share = (machine.busy_cpu_seconds() - before) / 0.5 / os.cpu_count()
    if share > BUSY_WARNING_SHARE:
        note(f"warning: the machine is {share:.0%} busy with other work; round trips will be "
             "those of its scheduler")


def note(text):
    """Tells those who wait."""
    print(f"{time.monotonic() - STARTED_AT:4.0f} s {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
