import ArgumentParser
import Glibc
import LinuxNetworking
import PathBenchmark
import SystemPackage

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure throughput and round trips through a tunnel.",
        discussion: """
            The other node has to allow it: --serve there takes tests by one tunnel, and by \
            nothing else, one at a time and for a while. For example:

              sudo branchline bench --serve --for 10m      # on the node 10.64.0.1
              sudo branchline bench 10.64.0.1              # here

            First round trips of an idle tunnel are measured, with a small UDP datagram each \
            10 ms, then TCP to the other node (up) and from it (down), with round trips beside \
            it, so that it shows what waits behind what. Rates are what the receiver got. Access \
            rules have to allow TCP and UDP of the port. HOST is an address inside the tunnel, \
            the name of a node of a joined network (with sudo), or a name that the system knows.

            With --json: one object with host, address, port, interface, stream_count, \
            part_seconds, is_complete, session (peer, peer_name, profile, cipher, post_quantum, \
            mtu, endpoint, received_packets, lost_packets, loss_share; with sudo), and idle, up \
            and down, as far as measured: measured_seconds, bytes, bits_per_second, \
            retransmissions and round_trip with probe_count, lost_count, loss_share (0 to 1), \
            min_seconds, p50_seconds, p95_seconds, p99_seconds, max_seconds and jitter_seconds \
            (the mean difference of one from the next). What is not known is left out.

            Exit codes: 0 measured, 1 another failure, 2 bad input, 3 the host does not answer, \
            4 it allows no test, 5 it is busy with another, 6 what answers speaks another \
            version or protocol, 64 wrong usage, 130 interrupted; what was measured by then is \
            printed.
            """)

    @Argument(help: "The other node; left out with --serve.")
    var host: String?

    @Flag(help: "Let nodes behind a tunnel measure the way to this one.")
    var serve = false

    @Option(
        help: ArgumentHelp(
            "The tunnel's interface; may be left out where it is clear.", valueName: "name"),
        completion: .custom { _, _, _ in InterfaceSocket.live().map(\.name) })
    var interface: String?

    @Option(help: ArgumentHelp("TCP and UDP port of the server.", valueName: "number"))
    var port: UInt16 = Self.standardPort

    @Option(
        name: .customLong("for"),
        help: ArgumentHelp(
            "With --serve: how long; 24h at most, 10m by default.", valueName: "duration"),
        transform: Parse.duration)
    var duration: Int64?

    @Option(
        help: ArgumentHelp(
            "With --serve: bit/s that a test may take each way, such as 200M; 10G by default.",
            valueName: "bit/s"))
    var maximumRate: RateLimit?

    @Option(help: ArgumentHelp(
        "How long each part takes, 1 to \(TestLimits.secondsMax); 10 by default.",
        valueName: "number"))
    var seconds: Int?

    @Option(help: ArgumentHelp(
        "TCP connections at once, 1 to \(TestLimits.streamsMax); 1 by default.",
        valueName: "number"))
    var streams: Int?

    @Option(help: ArgumentHelp("One part alone: up, down or latency.", valueName: "part"))
    var only: BenchPart?

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard port > 0 else { throw ValidationError("--port is 1 to 65535") }
        if serve {
            guard host == nil else { throw ValidationError("give a host or --serve") }
            guard seconds == nil, streams == nil, only == nil, !json else {
                throw ValidationError("--seconds, --streams, --only and --json go with a host")
            }
            guard (duration ?? 1) <= Self.durationMax else {
                throw ValidationError("--for is 24h at most")
            }
            if let maximumRate, (maximumRate.value ?? .max) < Self.rateMin {
                throw ValidationError("--maximum-rate is 100k at least")
            }
            return
        }
        guard host != nil else { throw ValidationError("give a host, or --serve to be one") }
        guard duration == nil, maximumRate == nil else {
            throw ValidationError("--for and --maximum-rate go with --serve")
        }
        guard (1...TestLimits.secondsMax).contains(seconds ?? 1) else {
            throw ValidationError("--seconds is 1 to \(TestLimits.secondsMax)")
        }
        guard (1...Int(TestLimits.streamsMax)).contains(streams ?? 1) else {
            throw ValidationError("--streams is 1 to \(TestLimits.streamsMax)")
        }
    }

    func run() throws {
        Interruption.arm()
        guard let host else {
            let server = BenchServer(
                interface: try BenchTarget.servedInterface(interface), port: port,
                seconds: duration ?? Self.durationStandard,
                bitsPerSecondMax: maximumRate.map(\.value) ?? Self.rateStandard)
            try Console.write(server.run().text)
            return
        }
        let target = try BenchTarget(host: host, interface: interface)
        let client = BenchClient(
            target: target, port: port, seconds: seconds ?? Self.secondsStandard,
            streamCount: streams ?? 1)
        var report = client.emptyReport()
        do {
            try client.measure(only.map { [$0] } ?? BenchPart.allCases, into: &report)
            report.isComplete = true
        } catch {
            // What was measured is worth something, whatever came then.
            if report.hasFigures { try write(report) }
            throw error
        }
        try write(report)
    }

    private func write(_ report: BenchReport) throws {
        try Console.write(json ? InterfaceReport.json(report) + "\n" : report.text)
    }

    /// Of no service that is in common use.
    static let standardPort: UInt16 = 5210
    private static let secondsStandard = 10
    private static let durationStandard: Int64 = 600
    private static let durationMax: Int64 = 86_400
    private static let rateStandard: Int64? = 10_000_000_000
    private static let rateMin: Int64 = 100_000
}

/// What is measured, in this order.
enum BenchPart: String, ExpressibleByArgument, CaseIterable {
    case latency
    case up
    case down
}
