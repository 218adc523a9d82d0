import ArgumentParser
import Glibc
import LinuxNetworking

/// A wide-area network between two TUN devices of one namespace.
///
/// The kernel routes what comes from the branch into one device and what comes from headquarters
/// into the other; the relay carries packets between them as late, as lossy and as disordered as
/// it is told, and leaves everything in them as it is.
@main
struct WanRelay: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wan-relay",
        abstract: "Carries packets between two TUN devices with a wide-area network's faults.",
        discussion: """
            Values are for both directions, or UP,DOWN; up is from the branch to headquarters. \
            What happens to a packet follows from the seed and its number in its direction.

            Prints `ready` once the devices exist, and a JSON object on one line on SIGUSR1 and, \
            before it ends, on SIGTERM. Rates are for tc to set, on the devices themselves.

            EXAMPLE:
              wan-relay --delay-ms 20 --jitter-ms 2,4 --loss 0.001 --seed 7
            """)

    @Option(help: "TUN device that takes what the branch sends.")
    var branchDevice = "relay-branch"

    @Option(help: "TUN device that takes what headquarters send.")
    var hqDevice = "relay-hq"

    @Option(help: "One-way delay in milliseconds, at most 10000.")
    var delayMs = BothWays(20)

    @Option(help: "How far the delay wanders up and down, in milliseconds; at most the delay.")
    var jitterMs = BothWays(0)

    @Flag(help: "Draw each packet's delay by itself, so that packets overtake each other.")
    var jitterReorders = false

    @Option(help: "Share of packets that are lost, from 0 to 1.")
    var loss = BothWays(0)

    @Option(help: "Share of packets that are held back while others pass, from 0 to 1.")
    var reorder = BothWays(0)

    @Option(help: "How long those are held back, in milliseconds.")
    var reorderByMs = BothWays(5)

    @Option(help: "Share of ECN-capable packets that get a congestion mark, from 0 to 1.")
    var ce = BothWays(0)

    @Option(help: "Everything random follows from it.")
    var seed: UInt64 = 0

    @Option(help: "Largest packet, in bytes; set the devices to no more.")
    var mtu = 1_500

    @Option(help: "Packets under way in each direction; what exceeds them is dropped and counted.")
    var queuePackets = 8_192

    func validate() throws {
        try require(branchDevice != hqDevice, "the two devices need two names")
        try require(delayMs.isWithin(0...10_000), "--delay-ms takes 0 to 10000")
        try require(reorderByMs.isWithin(0...10_000), "--reorder-by-ms takes 0 to 10000")
        try require(
            jitterMs.isWithin(0...10_000) && jitterMs.up <= delayMs.up
                && jitterMs.down <= delayMs.down, "--jitter-ms takes 0 to the delay")
        for (name, share) in [("loss", loss), ("reorder", reorder), ("ce", ce)] {
            try require(share.isWithin(0...1), "--\(name) takes a share from 0 to 1")
        }
        try require((576...65_535).contains(mtu), "--mtu takes 576 to 65535")
        try require((1...1_000_000).contains(queuePackets), "--queue-packets takes 1 to 1000000")
    }

    func run() throws {
        let signals = try SignalDescriptor(RelaySignals.all)
        // Without offloads the kernel cuts large frames and completes checksums.
        let branch = try TunDevice.create(name: branchDevice, wanted: [])
        let hq = try TunDevice.create(name: hqDevice, wanted: [])
        let relay = try Relay(
            branch: branch, hq: hq, signals: signals, slotBytes: mtu, slotCount: queuePackets,
            up: Impairments(
                faults(of: \.up), draws: SeededDraws(seed: seed, stream: 0)),
            down: Impairments(
                faults(of: \.down), draws: SeededDraws(seed: seed, stream: 1)))
        print("ready")
        flushOutput()
        let outcome = Outcome()
        try WorkerThread.start(name: "wan-relay", niceness: -20, sliceNanoseconds: 100_000) { _ in
            goFirst()
            outcome.set(relay.run())
        }.join()
        if let failure = outcome.failure { throw failure }
    }

    private func faults(of way: KeyPath<BothWays, Double>) -> Impairments.Faults {
        Impairments.Faults(
            delayNanoseconds: UInt64(delayMs[keyPath: way] * 1e6),
            jitterNanoseconds: UInt64(jitterMs[keyPath: way] * 1e6),
            isJitterReordering: jitterReorders,
            lossShare: loss[keyPath: way],
            reorderedShare: reorder[keyPath: way],
            reorderingNanoseconds: UInt64(reorderByMs[keyPath: way] * 1e6),
            markedShare: ce[keyPath: way])
    }

    private func require(_ condition: Bool, _ message: String) throws {
        if !condition { throw ValidationError(message) }
    }
}

/// A network is not slower for its endpoints being busy: the relay runs before them wherever the
/// system allows it. Niceness alone would count only among the processes of its own session.
///
/// sched_setscheduler
private func goFirst() {
    var parameters = sched_param()
    parameters.sched_priority = 1
    // Refused, the thread's niceness has to do.
    _ = unsafe sched_setscheduler(0, SCHED_FIFO, &parameters)
}

/// A value for each direction.
struct BothWays: ExpressibleByArgument, CustomStringConvertible {
    let up: Double
    let down: Double

    init(_ value: Double) {
        up = value
        down = value
    }

    /// `5`, or `5,7` for up and down.
    init?(argument: String) {
        let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { Double($0) }
        guard numbers.count == parts.count, (1...2).contains(numbers.count),
            numbers.allSatisfy(\.isFinite)
        else { return nil }
        up = numbers[0]
        down = numbers[numbers.count - 1]
    }

    var description: String { up == down ? "\(up)" : "\(up),\(down)" }

    func isWithin(_ range: ClosedRange<Double>) -> Bool {
        range.contains(up) && range.contains(down)
    }
}
