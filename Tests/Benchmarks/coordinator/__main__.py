"""Command line of the coordinator benchmark. Every step is serial:

1. build the load tools and the programs
2. joins a second, on SQLite and on PostgreSQL: batches take turns
3. watchers: memory of the coordinator that holds them, and how fast one change reaches all
4. a real gateway and a branch: the time to join, and to be cut off, with simulated gateways beside
5. print medians with their spread; write JSON
"""

import argparse
import asyncio
import os
import shlex
import statistics
import subprocess
import sys
import time

from coordinator.pair import Pair, Probes
from coordinator.service import TENANT, Service, in_parallel
from coordinator.watchers import Watchers
from harness import build, machine, report
from harness.lab import Lab, LabError

TITLES = {
    "join_s": "join, from the command to the first packet, s",
    "revocation_p50_ms": "revocation until the last packet p50, ms",
    "revocation_p99_ms": "revocation until the last packet p99, ms",
    "watchers": "watching nodes",
    "watchers_rss_mb": "memory of the coordinator with them, MB",
    "delta_p50_ms": "a change until it is at a watcher p50, ms",
    "delta_p99_ms": "a change until it is at a watcher p99, ms",
    "joins_per_s_sqlite": "joins per second, SQLite",
    "joins_per_s_postgresql": "joins per second, PostgreSQL",
}
FIGURES = ("joins", "watchers", "revocation")
HQ_ADDRESS, BRANCH_ADDRESS = "192.0.2.1", "192.0.2.2"
OBSERVED_AFTER_REVOCATION_S = 1.5
SYSTEM = "coordinator"


def main():
    """Measures as the command line asks."""
    options = parse_arguments()
    results = report.Results()
    try:
        tools = build.build_tools(["watchers"])
        programs = os.environ.get("PROGRAMS") or build.build_products(
            "branchline-coordinator", "branchlined", "branchline")
    except LabError as error:
        sys.exit(f"coordinator: {error}")
    steps = {"joins": measure_joins, "watchers": measure_watchers, "revocation": measure_pair}
    with Lab("bench") as lab:
        for figure in options.figures:
            print(f"measuring {figure}", file=sys.stderr)
            try:
                asyncio.run(steps[figure](lab, programs, tools, options, results))
            except LabError as error:
                results.fail(SYSTEM, figure, error)
    publish(options, results)
    if not results.has(SYSTEM):
        sys.exit("coordinator: nothing was measured")


async def measure_joins(lab, programs, _tools, options, results):
    """Enrols batches of nodes, SQLite and PostgreSQL by turns."""
    services = {"sqlite": Service(lab, programs)}
    with Database(lab) as database:
        services["postgresql"] = Service(lab, programs, database=database.text)
        sessions = {name: service.session() for name, service in services.items()}
        try:
            for name, service in services.items():
                await service.found(sessions[name])
            for number in range(options.rounds):
                for name, service in services.items():
                    session = sessions[name]
                    nodes = await in_parallel(
                        service.prepare_node(session, number=i) for i in range(options.joins))
                    began = time.monotonic()
                    await in_parallel(service.enrol(session, node) for node in nodes)
                    rate = options.joins / (time.monotonic() - began)
                    results.add(SYSTEM, number, {f"joins_per_s_{name}": rate})
        finally:
            for session in sessions.values():
                await session.close()
            for service in services.values():
                lab.stop(service.process)


async def measure_watchers(lab, programs, tools, options, results):
    """Lets many nodes of one tenant watch, and changes something that concerns all of them."""
    service = Service(lab, programs)
    async with service.session() as session:
        await service.found(session)
        nodes = await in_parallel(
            service.prepare_node(session, number=i) for i in range(options.watchers))
        await in_parallel(service.enrol(session, node) for node in nodes)
        watchers = await asyncio.to_thread(Watchers, lab, tools, service, nodes)
        await asyncio.sleep(2)
        results.add(SYSTEM, 0, {
            "watchers": watchers.count, "watchers_connected_s": watchers.connected_s,
            "watchers_rss_mb": machine.resident_bytes(service.process.pid) / machine.BYTES_PER_MB})
        for number in range(options.rounds):
            before = watchers.newest()
            answered = await service.change_policy(session)
            _, arrivals = await asyncio.to_thread(watchers.await_change, before)
            delays = sorted(max(at - answered, 0) * 1000 for at in arrivals)
            results.add(SYSTEM, number, {
                "delta_p50_ms": statistics.median(delays), "delta_p99_ms": quantile(delays, 0.99)})
            await asyncio.sleep(0.5)
    lab.stop(watchers.process)
    lab.stop(service.process)


async def measure_pair(lab, programs, tools, options, results):
    """Joins and revokes real branches of a real gateway, beside simulated gateways."""
    hq, branch = lab.add_link(f"{HQ_ADDRESS}/24", f"{BRANCH_ADDRESS}/24")
    service = Service(lab, programs, namespace=hq, address=HQ_ADDRESS)
    pair = Pair(lab, programs, hq, branch, HQ_ADDRESS)
    delays = []
    # Requests leave from the namespace where the coordinator is.
    with in_namespace(hq):
        async with service.session() as session:
            await service.found(session)
            await asyncio.to_thread(pair.join_gateway, await service.token(session, "gateway"))
            try:
                for number in range(options.rounds):
                    token = await service.token(session, "branch")
                    seconds = await asyncio.to_thread(pair.join_branch, token)
                    results.add(SYSTEM, number, {"join_s": seconds})
                    await asyncio.to_thread(pair.leave_branch)
                watchers = await simulate_gateways(lab, tools, options, service, session)
                for _ in range(options.revocations):
                    delays += await cut_off(lab, service, session, pair, watchers)
            finally:
                await asyncio.to_thread(pair.stop)
    delays.sort()
    results.add(SYSTEM, 0, {"revocation_p50_ms": quantile(delays, 0.5),
                            "revocation_p99_ms": quantile(delays, 0.99)})


async def simulate_gateways(lab, tools, options, service, session):
    """Lets gateways watch that take up changes and do nothing else."""
    gateways = await in_parallel(
        service.prepare_node(session, "gateway", i) for i in range(options.gateways))
    await in_parallel(service.enrol(session, gateway) for gateway in gateways)
    return await asyncio.to_thread(Watchers, lab, tools, service, gateways)


async def cut_off(lab, service, session, pair, watchers):
    """Joins a branch and revokes it while it sends.

    Returns milliseconds from the coordinator's answer until the real gateway has let its last
    packet through, and until each simulated one knew.
    """
    token = await service.token(session, "branch")
    await asyncio.to_thread(pair.join_branch, token)
    probes = await asyncio.to_thread(Probes, lab, pair)
    before = watchers.newest()
    answered = await service.revoke(session, await node_of(service, session, token))
    _, arrivals = await asyncio.to_thread(watchers.await_change, before)
    await asyncio.sleep(OBSERVED_AFTER_REVOCATION_S)
    last = await asyncio.to_thread(probes.stop)
    await asyncio.to_thread(pair.leave_branch)
    return [max(at - answered, 0) * 1000 for at in [last, *arrivals]]


async def node_of(service, session, token):
    """Returns the key of the node that used a token."""
    tokens = await service.call(session, "GET", f"/v1/tenants/{TENANT}/tokens?limit=1000")
    return next(record["node"] for record in tokens["items"] if record["id"] == token.id)


def quantile(ordered, fraction):
    """Returns the value that the given share of all does not exceed."""
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


class Database:
    """A throw-away PostgreSQL server on a Unix socket."""

    SCRIPT = os.path.join(build.PROJECT, "Tests", "postgresql.sh")

    def __init__(self, lab):
        self.folder = lab.path("postgresql")

    def __enter__(self):
        output = subprocess.run([self.SCRIPT, "start", self.folder], capture_output=True,
                                text=True, check=False)
        if output.returncode:
            raise LabError(f"PostgreSQL did not start: {output.stderr[-300:]}")
        self.text = output.stdout.strip().splitlines()[-1]
        return self

    def __exit__(self, *_):
        subprocess.run([self.SCRIPT, "stop", self.folder], capture_output=True, check=False)


def parse_arguments():
    """Returns the options; ends the program on wrong ones."""
    parser = argparse.ArgumentParser(
        prog="coordinator.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures Branchline's coordinator on this machine.",
        epilog="environment:\n  PROGRAMS  folder of programs to measure in place of a release "
        "build\n\nexample:\n  Tests/Benchmarks/coordinator.sh --quick --json coordinator.json")
    parser.add_argument("--quick", action="store_true", help="small numbers; figures are rough")
    parser.add_argument("--json", metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--figures", metavar="A,B", help=f"only these of {','.join(FIGURES)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 5, with --quick 2")
    parser.add_argument("--watchers", type=int, metavar="N", help="default: 10000, quick 500")
    parser.add_argument("--gateways", type=int, default=50, metavar="N", help="default: 50")
    parser.add_argument("--joins", type=int, metavar="N", help="a batch; default: 1000, quick 200")
    parser.add_argument("--revocations", type=int, metavar="N", help="default: 20, quick 3")
    options = parser.parse_args()
    options.figures = options.figures.split(",") if options.figures else list(FIGURES)
    for figure in options.figures:
        if figure not in FIGURES:
            parser.error(f"no figure {figure}; there are {', '.join(FIGURES)}")
    quick, full = (2, 500, 200, 3), (5, 10_000, 1000, 20)
    for name, value in zip(("rounds", "watchers", "joins", "revocations"),
                           quick if options.quick else full):
        if getattr(options, name) is None:
            setattr(options, name, value)
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def publish(options, results):
    """Prints the table, the machine and the command; writes JSON."""
    rows = [[title, results.cell(SYSTEM, key)] for key, title in TITLES.items()]
    print("\n".join(report.table(["figure", "median (spread)"], rows)))
    print(f"\n{machine.description()}\n{time.strftime('%Y-%m-%d')}: "
          f"Tests/Benchmarks/coordinator.sh {shlex.join(sys.argv[1:])}")
    report.explain_missing({figure: reason for (_, figure), reason in results.reasons.items()})
    if options.json:
        report.write_json(options.json, {key: results.median(SYSTEM, key) for key in TITLES})


class in_namespace:  # pylint: disable=invalid-name
    """Puts this thread, and the sockets that it opens, into a network namespace for a while."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        set_namespace(there)
        os.close(there)

    def __exit__(self, *_):
        set_namespace(self.home)
        os.close(self.home)


def set_namespace(descriptor):
    """Enters a network namespace. `setns`"""
    import ctypes
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000):
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
