"""Command line of the benchmark of quality of service. Every step is serial:

1. build the load tools, the relay and Branchline
2. each round, each rate: start every system afresh; measure streams idle and beside uploads
3. each class alone; two tenants behind one gateway's line
4. the classifier against flow queueing where other traffic of one tenant is beside streams
5. recognition of other programs' traffic; what the classifier costs
6. print medians with their spread; write JSON
"""

import argparse
import os
import shlex
import statistics
import sys
import time
from dataclasses import dataclass

from harness import build, machine, report
from harness.lab import Lab, LabError, run
from qos import costs, recognition
from qos.ablation import SCENARIOS, run_scenario
from qos.line import LineSystem, WanError, classifying, flow_queueing
from qos.rivals import LinePair
from qos.streams import Site, Times, added
from qos.utilisation import PORTS, SERVICES, utilisation

RATES = {"rate20": 20_000_000, "rate200": 200_000_000}
# Name → prefix of its keys.
SYSTEMS = {"branchline": "", "fq": "fq_", "wggo": "wggo_"}
TITLES = {"branchline": "Branchline", "fq": "without classifier", "wggo": "wireguard-go (Debian)"}
OWN = ("branchline", "fq")
LINE_KEYS = {
    "added_itl_p99_ms": "token interval p99, added, ms",
    "added_itl_p999_ms": "token interval p99.9, added, ms",
    "added_ttft_2k_p99_ms": "2 KB prompt until first byte p99, added, ms",
    "added_delay_p99_ms": "  token delay p99, added, ms",
    "idle_itl_p99_ms": "  token interval p99, idle, ms",
    "line_up": "  line in use meanwhile, up",
    "line_down": "  line in use meanwhile, down",
    "utilisation_min": "shaped rate that a class alone fills, least",
    **{f"utilisation_{name}": f"  {name}" for name in PORTS},
    "jain_1_vs_32_flows": "Jain index of two tenants, 1 against 32 flows",
}
COST_KEYS = {
    "recognition_precision": "recognition of token streams, precision",
    "recognition_recall": "recognition of token streams, recall",
    "unshaped_throughput_ratio": "throughput without limit, with over without classifier",
    "unshaped_gbps": "  with classifier, Gbit/s",
    "bytes_per_flow": "bytes of memory per flow",
    "flows_measured": "  of so many",
}
JSON_LINE_KEYS = ("added_itl_p99_ms", "added_itl_p999_ms", "added_ttft_2k_p99_ms",
                  "utilisation_min", "jain_1_vs_32_flows")
JSON_COST_KEYS = ("recognition_precision", "recognition_recall", "unshaped_throughput_ratio",
                  "bytes_per_flow")
# In the order of measuring.
FIGURES = ("line", "recognition", "costs", "utilisation", "jain", "ablation")
BUSY_WARNING_SHARE = 0.15
STARTED_AT = time.monotonic()


@dataclass
class Plan:
    """How long each measurement takes; seconds unless the name says otherwise."""

    rounds: int = 3
    times: Times = None
    alone_warm_up: float = 4
    alone: float = 6
    classes: tuple = tuple(PORTS)
    rival_warm_up: float = 5
    rival: float = 8
    recognition: float = 12
    flows_each: int = 3
    tcp: float = 5
    flows: int = costs.FLOWS
    systems_of_all: tuple = tuple(SYSTEMS)
    is_short: bool = False
    time_limit: float = None


QUICK = Plan(rounds=1, times=Times(0.7, 1.5, 2.5), alone_warm_up=1, alone=1,
             classes=("token", "background"), rival_warm_up=1.5, rival=1.5, recognition=5,
             flows_each=1, tcp=1, flows=20_000, systems_of_all=("branchline",),
             is_short=True, time_limit=50)


class Bench:
    """What all steps need."""

    def __init__(self, lab, options, plan, tools, programs):
        self.lab, self.options, self.plan, self.tools = lab, options, plan, tools
        self.programs = programs
        self.relay = os.environ.get("WAN_RELAY") or f"{programs}/wan-relay"
        self.results = report.Results()
        self.found = []
        self.begun = time.monotonic()
        self.certificate = make_certificate(lab)

    def program(self, name):
        """Returns the daemon's path."""
        if name == "wggo":
            return os.environ.get("WIREGUARD_GO") or "wireguard-go"
        return f"{self.programs}/branchlined"

    def make(self, name):
        """Starts a system by its line."""
        settings = {"branchline": classifying, "fq": flow_queueing}.get(name)
        return LineSystem(self.lab, self.program(name), self.relay, settings)

    def step(self, name, key, round_number, measure):
        """Measures something of a system, unless time is over; keeps numbers or the reason."""
        begun = time.monotonic()
        try:
            if self.plan.time_limit and begun - self.begun > self.plan.time_limit:
                raise LabError(f"--quick ends after {self.plan.time_limit} s")
            values = measure()
            self.results.add(name, round_number, values)
            said = " ".join(f"{key}={report.short(value)}" for key, value in values.items())
        except (LabError, WanError, OSError, ValueError, KeyError) as error:
            self.results.fail(name, key, error)
            said = f"not measured: {error}"
        note(f"{name} {key}: {said} [{time.monotonic() - begun:.1f} s]")

    @property
    def rates_of_others(self):
        """The rates at which more than the line itself is measured."""
        return self.options.rates[:1] if self.plan.is_short else self.options.rates

    def rotated(self, names, number):
        """Returns the systems that were asked for, another one first each round."""
        names = [name for name in names if name in self.options.systems]
        shift = number % len(names) if names else 0
        return names[shift:] + names[:shift]


def main():
    """Measures as the command line asks."""
    options = parse_arguments()
    plan = QUICK if options.quick else Plan(times=Times())
    plan.rounds = options.rounds or plan.rounds
    begun = time.monotonic()
    try:
        tools = build.build_tools(["tokens"])
        programs = os.environ.get("PROGRAMS") or build.build_products("branchlined", "wan-relay")
        options.python = (recognition.traffic_python() if "recognition" in options.figures
                          else None)
    except LabError as error:
        sys.exit(f"qos: {error}")
    note(f"built in {time.monotonic() - begun:.0f} s")
    warn_when_busy()
    with Lab("bench") as lab:
        bench = Bench(lab, options, plan, tools, os.path.abspath(programs))
        for number in range(plan.rounds):
            note(f"round {number + 1}")
            for figure in options.figures:
                STEPS[figure](bench, number)
    publish(bench)
    if "branchline" in options.systems and not bench.results.has("branchline"):
        sys.exit("qos: nothing was measured")


def measure_line(bench, number):
    """Streams and prompts idle and beside uploads in both directions."""
    for rate in bench.options.rates:
        for name in bench.rotated(SYSTEMS, number):
            if bench.plan.is_short and name != "branchline" and rate != bench.options.rates[0]:
                continue
            bench.step(name, f"{rate}_line", number, lambda: line(bench, name, rate))


def line(bench, name, rate):
    """Measures one system on one line."""
    system = bench.make(name)
    try:
        system.set_rate(RATES[rate])
        system.check()
        site = Site(bench.lab, bench.tools, system)
        try:
            idle = site.measure(bench.plan.times.idle)
            beside = [site.measure_beside(
                lambda seconds, ways=ways: site.start_uploads(seconds, ways), bench.plan.times)
                for ways in ([("up",), ("down",)] if bench.options.one_way else [("up", "down")])]
        finally:
            site.stop()
        worst = [added(idle, loaded) for loaded, _ in beside]
        values = {**{key: max(one[key] for one in worst) for key in worst[0]},
                  "idle_itl_p99_ms": idle[0]["itl"]["p99"],
                  "line_up": max(shares[0] for _, shares in beside),
                  "line_down": max(shares[1] for _, shares in beside)}
    finally:
        system.stop()
    return {f"{rate}_{key}": value for key, value in values.items()}


def measure_utilisation(bench, number):
    """Each class alone; what has no classes is measured once."""
    for rate in bench.rates_of_others:
        for name in bench.rotated(bench.plan.systems_of_all, number):
            bench.step(name, f"{rate}_utilisation", number, lambda: classes(bench, name, rate))


def classes(bench, name, rate):
    """Measures the classes of one system."""
    system = bench.make(name)
    try:
        system.set_rate(RATES[rate], SERVICES)
        system.check()
        shares = {one: utilisation(bench.lab, system, one, bench.plan.alone_warm_up,
                                   bench.plan.alone)
                  for one in (bench.plan.classes if name == "branchline" else ["token"])}
    finally:
        system.stop()
    own = shares if name == "branchline" else {}
    return {f"{rate}_utilisation_min": min(shares.values()),
            **{f"{rate}_utilisation_{one}": share for one, share in own.items()}}


def measure_jain(bench, number):
    """Two tenants behind one line."""
    for rate in bench.rates_of_others:
        for name in bench.rotated(bench.plan.systems_of_all, number):
            bench.step(name, f"{rate}_jain", number, lambda: tenants(bench, name, rate))


def tenants(bench, name, rate):
    """Measures the shares of one system."""
    pair = LinePair(bench.lab, bench.program(name), bench.relay, RATES[rate], name != "fq",
                    name != "wggo")
    try:
        index, shares = pair.index(bench.plan.rival_warm_up, bench.plan.rival)
    finally:
        pair.stop()
    note(f"  1 flow {shares[0]:.2f} Mbit/s, 32 flows {shares[1]:.2f}")
    return {f"{rate}_jain_1_vs_32_flows": index}


def measure_ablation(bench, number):
    """Both builds beside other traffic of the same tenant."""
    for key in [] if bench.plan.is_short else bench.options.scenarios:
        for name in bench.rotated(OWN, number):
            bench.step(name, key, number, lambda: scenario(bench, name, key))


def scenario(bench, name, key):
    """Measures one scenario."""
    system = bench.make(name)
    try:
        system.set_rate(RATES["rate20"], budget_bytes=SCENARIOS[key].budget_bytes)
        system.check()
        quiet, loaded, shares = run_scenario(
            bench.lab, bench.tools, system, SCENARIOS[key], bench.plan.times, bench.certificate)
    finally:
        system.stop()
    values = added(quiet, loaded)
    return {f"{key}_itl_p99": values["added_itl_p99_ms"],
            f"{key}_delay_p99": values["added_delay_p99_ms"],
            f"{key}_ttft_p99": values["added_ttft_2k_p99_ms"],
            f"{key}_line": min(shares)}


def measure_recognition(bench, number):
    """What the classifier makes of other people's programs."""
    def measure():
        tunnel = costs.PlainTunnel(bench.lab, bench.program("branchline"), [])
        try:
            tunnel.check()
            found, complaints = recognition.recognise(
                bench.options.python, tunnel, bench.plan.recognition, bench.plan.flows_each)
        finally:
            tunnel.stop()
        if complaints:
            note(f"  traffic: {complaints}")
        bench.found.append(found)
        return recognition.figures(found)
    if "branchline" in bench.options.systems:
        bench.step("branchline", "recognition", number, measure)


def measure_costs(bench, number):
    """Throughput without limits with and without the classifier, and memory."""
    def throughput():
        tunnel = costs.PlainTunnel(bench.lab, bench.program("branchline"), [])
        try:
            tunnel.check()
            order = (True, False) if number % 2 else (False, True)
            rates = {True: [], False: []}
            for classifies in (*order, *reversed(order)):
                rates[classifies].append(costs.throughput(
                    bench.lab, tunnel, classifies, bench.plan.tcp))
        finally:
            tunnel.stop()
        with_it, without = (statistics.mean(rates[key]) for key in (True, False))
        return {"unshaped_throughput_ratio": with_it / without, "unshaped_gbps": with_it}

    def memory():
        tunnel = costs.PlainTunnel(bench.lab, bench.program("branchline"), [])
        try:
            tunnel.check()
            size, flows = costs.bytes_per_flow(tunnel, bench.plan.flows)
        finally:
            tunnel.stop()
        return {"bytes_per_flow": size, "flows_measured": flows}
    if "branchline" in bench.options.systems:
        bench.step("branchline", "throughput", number, throughput)
        bench.step("branchline", "bytes_per_flow", number, memory)


STEPS = {"line": measure_line, "utilisation": measure_utilisation, "jain": measure_jain,
         "ablation": measure_ablation, "recognition": measure_recognition,
         "costs": measure_costs}


def parse_arguments():
    """Returns the options; ends the program on wrong ones."""
    parser = argparse.ArgumentParser(
        prog="qos.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures token streams beside uploads, on this machine.",
        epilog="environment:\n"
        "  PROGRAMS      folder with branchlined and wan-relay in place of a release build\n"
        "  WAN_RELAY     another wan-relay\n"
        "  WIREGUARD_GO  another wireguard-go\n"
        "  LOG_LEVEL     given to the daemons (default: error)\n\n"
        "example:\n  Tests/Benchmarks/qos.sh --figures line --rates rate20 --rounds 5")
    parser.add_argument("--quick", action="store_true",
                        help="one short round, done within 60 s after the build; figures are rough")
    parser.add_argument("--json", metavar="FILE", help="write the figures as one flat object")
    for name, known in (("figures", FIGURES), ("systems", tuple(SYSTEMS)),
                        ("rates", tuple(RATES))):
        parser.add_argument(f"--{name}", metavar="A,B", help=f"only these of {','.join(known)}")
    parser.add_argument("--scenarios", metavar="A,B",
                        help=f"of the ablation only these of {','.join(SCENARIOS)}")
    parser.add_argument("--one-way", action="store_true",
                        help="uploads in one direction after the other, the worse counts: for a "
                        "machine whose processors cannot fill both at once")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 3, with --quick 1")
    options = parser.parse_args()
    for name, known in (("figures", FIGURES), ("systems", SYSTEMS), ("rates", RATES),
                        ("scenarios", SCENARIOS)):
        text = getattr(options, name)
        words = [word for word in text.split(",") if word] if text else list(known)
        for word in words:
            if word not in known:
                parser.error(f"no {word} among the {name}; there are {', '.join(known)}")
        setattr(options, name, words)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def publish(bench):
    """Prints the tables and writes the JSON object."""
    results, options = bench.results, bench.options
    names = [name for name in SYSTEMS if name in options.systems]
    print(f"machine: {machine.description()}")
    print(f"command: Tests/Benchmarks/qos.sh {shlex.join(sys.argv[1:])}".rstrip())
    print(f"{bench.plan.rounds} rounds, median (minimum-maximum); 40 ms round trip, 20 streams of "
          "a token each 20 ms, 4 CUBIC uploads each way\n")
    titles = [TITLES[name] for name in names]
    for rate in options.rates:
        rows = [[title, *(results.cell(name, f"{rate}_{key}") for name in names)]
                for key, title in LINE_KEYS.items()]
        print_rows([f"{RATES[rate] // 1_000_000} Mbit/s", *titles], rows)
    own = [name for name in OWN if name in names]
    rows = [[f"{one.title}: {what}", *(results.cell(name, f"{key}_{end}") for name in own)]
            for key, one in SCENARIOS.items()
            for end, what in (("itl_p99", "token interval p99, added, ms"),
                              ("delay_p99", "token delay p99, added, ms"),
                              ("ttft_p99", "2 KB prompt p99, added, ms"),
                              ("line", "line in use"))]
    print_rows(["20 Mbit/s, one tenant", *(TITLES[name] for name in own)], rows)
    print_recognition(bench.found)
    print_rows(["figure", TITLES["branchline"]],
               [[title, results.cell("branchline", key)] for key, title in COST_KEYS.items()])
    reasons = {f"{SYSTEMS[name]}{key}": reason for (name, key), reason in results.reasons.items()}
    if options.json:
        report.write_json(options.json, flat(results, options, reasons))
    report.explain_missing(reasons)


def print_rows(header, rows):
    """Prints a table of the rows that have a number."""
    rows = [row for row in rows if any(cell != "-" for cell in row[1:])]
    if rows:
        print("\n".join([*report.table(header, rows), ""]))


def print_recognition(rounds):
    """Prints how many flows of each kind were held for token streams, of all rounds."""
    rows = []
    for same in zip(*rounds):
        kind = same[0][0]
        held, there = sum(one[2] for one in same), sum(one[1] for one in same)
        rows.append([kind.name, "yes" if kind.is_token_stream else "no", f"{held} of {there}"])
    print_rows(["traffic that nobody tuned for", "token stream", "held for one"], rows)


def flat(results, options, reasons):
    """Returns every key of every system; adds reasons for those that nobody asked for."""
    values = {}
    for name, prefix in SYSTEMS.items():
        for rate in RATES:
            for key in JSON_LINE_KEYS:
                values[f"{prefix}{rate}_{key}"] = results.median(name, f"{rate}_{key}")
        if name not in options.systems:
            reasons[f"{prefix}*"] = "this system was not asked for"
    for key in JSON_COST_KEYS:
        values[key] = results.median("branchline", key)
    for rate in RATES:
        if rate not in options.rates:
            reasons[f"{rate}_*"] = "this rate was not asked for"
    for figure in FIGURES:
        if figure not in options.figures:
            reasons[figure] = "this figure was not asked for"
    if options.quick:
        reasons["some"] = "what is null without another reason is left out of --quick"
    return values


def make_certificate(lab):
    """Returns the paths of a certificate and its key."""
    paths = lab.path("certificate.pem"), lab.path("key.pem")
    run(["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=hq.example",
         "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", paths[0],
         "-keyout", paths[1]])
    return paths


def warn_when_busy():
    """Says so when the machine has other work: delays are then those of its scheduler."""
    before = machine.busy_cpu_seconds()
    time.sleep(0.5)
    share = (machine.busy_cpu_seconds() - before) / 0.5 / os.cpu_count()
    if share > BUSY_WARNING_SHARE:
        note(f"warning: the machine is {share:.0%} busy with other work; delays will be those of "
             "its scheduler")


def note(text):
    """Tells those who wait."""
    print(f"{time.monotonic() - STARTED_AT:4.0f} s {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
