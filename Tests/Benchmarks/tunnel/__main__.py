"""Command line of the tunnel benchmark.

1. build the load tools and Branchline (serial)
2. each round: start every system, afresh
3. each figure: measure system after system, the first one rotating from round to round (serial)
4. print medians, spread, ratios; write JSON
"""

import argparse
import os
import shlex
import subprocess
import sys
import time

from harness import build, machine, report
from harness.lab import Lab, LabError
from harness.systems import BareLink, OpenVPN, UserspaceWireGuard
from tunnel.figures import QUICK_PLAN, Bench, Plan, make_identities

# Name → prefix of its keys in the JSON object.
SYSTEMS = {"bare": "bare_", "branchline": "", "native": "native_", "null": "null_",
           "wggo": "wggo_", "wggo_modern": "wggo_modern_", "openvpn": "openvpn_"}
TITLES = {"bare": "bare link", "branchline": "Branchline", "native": "Branchline, its own profile",
          "null": "Branchline, null cipher",
          "wggo": "wireguard-go (Debian)", "wggo_modern": "wireguard-go (WIREGUARD_GO)",
          "openvpn": "OpenVPN AES-256-GCM"}

# Figure → its keys with what the table calls them. In the order of measuring.
FIGURES = {
    "tcp1": {"tcp1_gbps": "TCP 1 stream, Gbit/s",
             "cpu_s_per_gb": "CPU s per GB, whole machine"},
    "tcp1_reverse": {"tcp1_reverse_gbps": "TCP 1 stream reverse, Gbit/s"},
    "tcp4": {"tcp4_gbps": "TCP 4 streams, Gbit/s"},
    "tcp4_reverse": {"tcp4_reverse_gbps": "TCP 4 streams reverse, Gbit/s"},
    "rss": {"rss_mb": "memory of a daemon, 10 peers, MB"},
    "flood": {"udp64_flood_pps": "64-byte UDP under flood, packets/s",
              "udp64_offered_pps": "  offered meanwhile"},
    "lossfree": {"udp64_lossfree_pps": "64-byte UDP without loss, packets/s"},
    "rtt_idle": {"rtt_idle_p50_us": "RTT idle p50, µs", "rtt_idle_p99_us": "RTT idle p99, µs"},
    "rtt_loaded": {"rtt_loaded_p50_us": "RTT beside TCP p50, µs",
                   "rtt_loaded_p99_us": "RTT beside TCP p99, µs",
                   "rtt_loaded_tcp_gbps": "  TCP meanwhile, Gbit/s"},
    "handshakes": {"handshakes_per_s": "responder handshakes per CPU second",
                   "handshakes_raw_per_s": "  per second as they came"},
    "idle_peers": {"bytes_per_idle_peer": "bytes per further idle peer"},
}
# What explains another figure and is no merit of its own: left out of the ratios.
DETAILS = ("udp64_offered_pps", "rtt_loaded_tcp_gbps", "handshakes_raw_per_s")
TCP_FIGURES = {"tcp1", "tcp1_reverse", "tcp4", "tcp4_reverse"}
QUICK_FIGURES = [name for name in FIGURES if name != "tcp4_reverse"]
NATIVE_PROFILE = "branchline-aes256gcm"
BUSY_WARNING_SHARE = 0.15


def main():
    """Measures as the command line asks."""
    options = parse_arguments()
    started = time.monotonic()
    results = report.Results()
    try:
        tools = build.build_tools(build.TUNNEL_TOOLS)
        makers = make_systems(options, results)
    except LabError as error:
        sys.exit(f"tunnel: {error}")
    print(f"built in {time.monotonic() - started:.0f} s", file=sys.stderr)
    plan = QUICK_PLAN if options.quick else Plan()
    plan.rounds = options.rounds or plan.rounds
    plan.tcp_s = options.tcp_seconds or plan.tcp_s
    warn_when_busy()
    with Lab("bench") as lab:
        identities = make_identities(tools)
        bench = Bench(lab, tools, plan, identities, not options.no_gro, options.udp_rtt)
        measure(options, bench, makers, results)
    publish(options, list(makers), results, plan)
    for name in ("branchline", "native", "null"):
        if name in options.systems and not results.has(name):
            sys.exit(f"tunnel: nothing was measured of {TITLES[name]}")


def parse_arguments():
    """Returns the options; ends the program on wrong ones."""
    parser = argparse.ArgumentParser(
        prog="tunnel.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures Branchline's tunnel beside its peers, on this machine.",
        epilog="environment:\n"
        "  BRANCHLINED       program to measure in place of a release build\n"
        "  BRANCHLINED_NULL  the same for the null cipher\n"
        "  WIREGUARD_GO      another wireguard-go; its keys begin with wggo_modern_\n"
        "  LOG_LEVEL         given to the daemons (default: error)\n\n"
        "example:\n  Tests/Benchmarks/tunnel.sh --systems branchline,wggo "
        "--figures tcp1,rtt_loaded --rounds 3")
    parser.add_argument("--quick", action="store_true",
                        help="one short round, done within 60 s after the build; figures are rough")
    parser.add_argument("--json", metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--systems", type=words, metavar="A,B",
                        help=f"only these of {','.join(SYSTEMS)} (and names given to --binary)")
    parser.add_argument("--figures", type=words, metavar="A,B",
                        help=f"only these of {','.join(FIGURES)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 5, with --quick 1")
    parser.add_argument("--tcp-seconds", type=int, metavar="S", help="length of a TCP test")
    parser.add_argument("--binary", action="append", default=[], metavar="NAME=PATH",
                        help="one more program with wireguard-go's command line; may be repeated")
    parser.add_argument("--udp-rtt", action="store_true",
                        help="round trips by UDP to a program at the far end, not by ICMP")
    parser.add_argument("--no-gro", action="store_true",
                        help="the UDP receiver takes datagrams one by one (no UDP_GRO)")
    options = parser.parse_args()
    options.binary = dict(pair.partition("=")[::2] for pair in options.binary)
    known = {"system": [*SYSTEMS, *options.binary], "figure": list(FIGURES)}
    options.systems = options.systems or known["system"]
    options.figures = options.figures or (QUICK_FIGURES if options.quick else list(FIGURES))
    if "rss" in options.figures and not TCP_FIGURES.intersection(options.figures):
        options.figures = ["tcp1", *options.figures]  # Memory counts after traffic.
    for kind, names in (("system", options.systems), ("figure", options.figures)):
        for name in names:
            if name not in known[kind]:
                parser.error(f"no {kind} {name}; there are {', '.join(known[kind])}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def words(text):
    """Returns the words of a comma-separated list."""
    return [word for word in text.split(",") if word]


def make_systems(options, results):
    """Returns, by name, a function of (lab, identities) that starts each system that can be had."""
    programs = dict(options.binary)
    own = [name for name in ("branchline", "native") if name in options.systems]
    if own:
        program = os.environ.get("BRANCHLINED") or build.build_branchlined()
        programs.update(dict.fromkeys(own, program))
        if "native" in own and "handshakes" in options.figures and "BRANCHLINED" not in os.environ:
            build.build_products("peer-emulator")
    if "null" in options.systems:
        programs["null"] = os.environ.get("BRANCHLINED_NULL") or build.build_branchlined(True)
    programs["wggo"] = "wireguard-go"
    programs["wggo_modern"] = os.environ.get("WIREGUARD_GO")
    makers = {}
    for name in options.systems:
        if name == "bare":
            makers[name] = lambda lab, identities: BareLink(lab)
        elif name == "openvpn":
            makers[name] = lambda lab, identities: OpenVPN(lab)
        elif programs[name]:
            path = programs[name] if name == "wggo" else os.path.abspath(programs[name])
            profile = NATIVE_PROFILE if name == "native" else None
            makers[name] = lambda lab, identities, path=path, profile=profile: (
                UserspaceWireGuard(lab, path, identities, profile))
        else:
            fail_all(options, results, name, "WIREGUARD_GO names no program")
    return makers


def measure(options, bench, makers, results):
    """Runs the rounds; what fails is noted and the rest goes on."""
    started = time.monotonic()
    for round_number in range(bench.plan.rounds):
        systems = start_systems(options, bench, makers, results)
        order = list(systems)
        turn = round_number % max(1, len(order))
        order = order[turn:] + order[:turn]
        for figure in (name for name in FIGURES if name in options.figures):
            for name in order:
                measure_one(figure, name, bench, systems[name], results, round_number, started)
        for system in systems.values():
            system.stop()


def start_systems(options, bench, makers, results):
    """Starts every system in namespaces of its own. Returns those that carry packets, by name."""
    systems = {}
    for name, make in makers.items():
        try:
            systems[name] = make(bench.lab, bench.identities)
            systems[name].label = name
        except (LabError, OSError) as error:
            fail_all(options, results, name, error)
            if name in systems:
                systems.pop(name).stop()
    return systems


def measure_one(figure, name, bench, system, results, round_number, started):
    """Measures one figure of one system and keeps the numbers, or why there are none."""
    limit = bench.plan.time_limit_s
    begun = time.monotonic()
    try:
        if limit and begun - started > limit:
            raise LabError(f"--quick ends after {limit} s")
        system.check()
        values = getattr(bench, figure)(system)
        results.add(name, round_number, values)
        outcome = " ".join(f"{key}={report.short(value)}" for key, value in values.items())
    except (LabError, OSError, ValueError, KeyError) as error:
        for key in FIGURES[figure]:
            results.fail(name, key, error)
        outcome = f"not measured: {error}"
    print(f"round {round_number + 1} {name}: {outcome} [{time.monotonic() - begun:.1f} s]",
          file=sys.stderr)


def fail_all(options, results, name, reason):
    """Notes for every figure that was asked for why this system has none."""
    for figure in options.figures:
        for key in FIGURES[figure]:
            results.fail(name, key, reason)


def publish(options, names, results, plan):
    """Prints the tables and writes the JSON object."""
    keys = {key: title for figure in FIGURES if figure in options.figures
            for key, title in FIGURES[figure].items()}
    titles = [TITLES.get(name, name) for name in names]
    print(f"machine: {machine.description()}")
    print(f"command: {command_line()}")
    print(f"{plan.rounds} rounds, median (minimum-maximum); TCP is CUBIC, {plan.tcp_s:g} s; "
          "64 bytes are UDP payload, one packet a datagram\n")
    rows = [[title, *(results.cell(name, key) for name in names)] for key, title in keys.items()]
    print("\n".join(report.table(["figure", *titles], rows)))
    for own in ("branchline", "native"):
        others = [name for name in names if name != own]
        if own not in names or not others:
            continue
        rows = [[title, *(ratio_text(results.ratio(own, name, key)) for name in others)]
                for key, title in keys.items() if key not in DETAILS]
        print(f"\n{TITLES[own]} divided by (median of the rounds' ratios):\n")
        print("\n".join(report.table(
            ["figure", *(TITLES.get(name, name) for name in others)], rows)))
    reasons = {f"{SYSTEMS.get(name, name + '_')}{key}": reason
               for (name, key), reason in results.reasons.items()
               if results.median(name, key) is None}
    if options.json:
        report.write_json(options.json, flat(results, reasons, options))
    report.explain_missing(reasons)


def flat(results, reasons, options):
    """Returns every key of every system; adds reasons for those that nobody asked for."""
    keys = [key for keys in FIGURES.values() for key in keys]
    prefixes = {**SYSTEMS, **{name: f"{name}_" for name in options.binary}}
    values = {}
    for name, prefix in prefixes.items():
        for key in keys:
            values[prefix + key] = results.median(name, key)
            if name in options.systems and values[prefix + key] is None:
                reasons.setdefault(prefix + key, "this figure was not asked for")
        if name not in options.systems:
            reasons[f"{prefix or 'unprefixed '}*"] = "this system was not asked for"
    return values


def ratio_text(ratio):
    """Returns a ratio for a table."""
    return "-" if ratio is None else f"{ratio:.2f}"


def command_line():
    """Returns what to type to get this table."""
    settings = [f"{name}={shlex.quote(os.environ[name])}"
                for name in ("BRANCHLINED", "BRANCHLINED_NULL", "WIREGUARD_GO")
                if os.environ.get(name)]
    return " ".join([*settings, "Tests/Benchmarks/tunnel.sh", *map(shlex.quote, sys.argv[1:])])


def warn_when_busy():
    """Says so when the machine has other work: the figures will then be low and uneven."""
    before = machine.busy_cpu_seconds()
    time.sleep(0.5)
    share = (machine.busy_cpu_seconds() - before) / 0.5 / os.cpu_count()
    if share > BUSY_WARNING_SHARE:
        print(f"warning: the machine is {share:.0%} busy with other work; expect low and uneven "
              "figures", file=sys.stderr)


if __name__ == "__main__":
    main()
