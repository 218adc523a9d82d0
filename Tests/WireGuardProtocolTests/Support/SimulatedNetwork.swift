import Cryptography
import PacketFormats
import TestSupport

@testable import WireGuardProtocol

/// What the network does to datagrams.
struct NetworkFaults {
    var lossPercent = 0
    var duplicationPercent = 0
    /// Datagrams that are held up by seconds, so that later ones overtake them.
    var delayPercent = 0
    var latency: ClosedRange<UInt64> = 5 * millisecond...15 * millisecond
}

/// Two nodes and the datagrams between them, in virtual time.
///
/// The branch knows where the headquarters is and may move; the headquarters learns where the
/// branch is. Each node has a monotonic clock of its own, which can jump.
final class SimulatedNetwork {
    private(set) var now: UInt64 = 0
    var faults = NetworkFaults()
    var generator: SeededGenerator
    private(set) var branch: SimulatedNode!
    private(set) var headquarters: SimulatedNode!
    private(set) var branchEndpoint = Endpoint.test(10)
    let headquartersEndpoint = Endpoint.test(99)
    /// Virtual nanoseconds by which each node's monotonic clock is ahead.
    var branchClockAhead: Int64 = 0
    var headquartersClockAhead: Int64 = 0
    /// The same for the wall clock, in seconds.
    var branchWallClockAhead: Int64 = 0
    private(set) var datagramCount = 0
    private(set) var lastDatagramAt: UInt64 = 0
    private(set) var violations: [String] = []
    private var ciphertexts: [CiphertextName: [UInt8]] = [:]
    private var flights = Flights()
    private var restartCount: UInt64 = 0
    private let seed: UInt64
    private let profile: TunnelProfile

    private struct CiphertextName: Hashable {
        var isFromBranch: Bool
        var receiver: UInt32
        var counter: UInt64
    }

    init(
        seed: UInt64, branchKeepalive: UInt16 = 0, profile: TunnelProfile = .wireguard
    ) {
        self.seed = seed
        self.profile = profile
        generator = SeededGenerator(seed: seed)
        let (branchKey, headquartersKey) = (PrivateKey.seeded(33), PrivateKey.seeded(44))
        branch = SimulatedNode(
            "branch", key: branchKey, seed: seed, endpoint: { .test(10) },
            transmit: { [unowned self] in self.carry($0, from: branchEndpoint, to: $1) })
        headquarters = SimulatedNode(
            "headquarters", key: headquartersKey, seed: seed, endpoint: { .test(99) },
            transmit: { [unowned self] in self.carry($0, from: headquartersEndpoint, to: $1) })
        restartBranch(keepalive: branchKeepalive)
        restartHeadquarters()
    }

    func restartBranch(keepalive: UInt16 = 0) {
        restartCount += 1
        branch.restart(
            peerKey: headquarters.key.publicKey, peerEndpoint: headquartersEndpoint,
            keepalive: keepalive, profile: profile, seed: seed &* 1_000 &+ restartCount,
            now: branchNow, wallClock: branchWall)
    }

    func restartHeadquarters() {
        restartCount += 1
        headquarters.restart(
            peerKey: branch.key.publicKey, peerEndpoint: nil, profile: profile,
            seed: seed &* 1_000 &+ restartCount, now: headquartersNow,
            wallClock: headquartersWall)
    }

    /// The branch gets another address and port, as behind a NAT that forgot it.
    func moveBranch() {
        branchEndpoint = Endpoint.test(
            UInt8.random(in: 10...60, using: &generator),
            port: UInt16.random(in: 1024...65535, using: &generator))
    }

    // MARK: Keys

    /// One of the four moments at which one end takes up a new key.
    enum KeySwitch: CaseIterable {
        case ownOfBranch, ownOfHeadquarters, peerOfBranch, peerOfHeadquarters
    }

    /// Each end has one new key.
    func perform(_ keySwitch: KeySwitch) throws {
        let (newBranch, newHeadquarters) = (PrivateKey.seeded(133), PrivateKey.seeded(144))
        switch keySwitch {
        case .ownOfBranch:
            try branch.rotate(to: newBranch, now: branchNow, wallClock: branchWall)
        case .ownOfHeadquarters:
            try headquarters.rotate(
                to: newHeadquarters, now: headquartersNow, wallClock: headquartersWall)
        case .peerOfBranch:
            try branch.replacePeerKey(
                with: newHeadquarters.publicKey, now: branchNow, wallClock: branchWall)
        case .peerOfHeadquarters:
            try headquarters.replacePeerKey(
                with: newBranch.publicKey, now: headquartersNow, wallClock: headquartersWall)
        }
    }

    // MARK: Time

    var branchNow: UInt64 { shifted(now, branchClockAhead) }
    var headquartersNow: UInt64 { shifted(now, headquartersClockAhead) }
    private var branchWall: WallClock {
        var wallClock = WallClock.test(now)
        wallClock.seconds += branchWallClockAhead
        return wallClock
    }
    private var headquartersWall: WallClock { .test(now) }

    private func shifted(_ time: UInt64, _ ahead: Int64) -> UInt64 {
        // An hour at the start, so that clocks can go back.
        let base = time + 3_600 * second
        return ahead >= 0 ? base + UInt64(ahead) : base - min(base, ahead.magnitude)
    }

    private func unshifted(_ local: UInt64, _ ahead: Int64) -> UInt64 {
        let base = ahead >= 0 ? local - min(local, UInt64(ahead)) : local + ahead.magnitude
        return base - min(base, 3_600 * second)
    }

    /// Lets everything happen that is due within `duration`.
    func run(_ duration: UInt64) {
        let end = now + duration
        while let next = nextEventAt, next <= end {
            now = max(now, next)
            if let flight = flights.pop(dueBy: now) { deliver(flight) }
            branch.advance(now: branchNow, wallClock: branchWall)
            headquarters.advance(now: headquartersNow, wallClock: headquartersWall)
        }
        now = end
    }

    private var nextEventAt: UInt64? {
        let candidates = [
            flights.nextAt,
            branch.device.nextDeadline.map { unshifted($0, branchClockAhead) },
            headquarters.device.nextDeadline.map { unshifted($0, headquartersClockAhead) },
        ]
        return candidates.compactMap { $0 }.min()
    }

    // MARK: Traffic

    func sendFromBranch(_ number: UInt64) {
        branch.send(number, now: branchNow, wallClock: branchWall)
    }

    func sendFromHeadquarters(_ number: UInt64) {
        headquarters.send(number, now: headquartersNow, wallClock: headquartersWall)
    }

    /// Both ends begin a handshake at the same moment, whatever sessions they have.
    func beginBothHandshakes() {
        branch.beginHandshake(now: branchNow, wallClock: branchWall)
        headquarters.beginHandshake(now: headquartersNow, wallClock: headquartersWall)
    }

    private func carry(_ datagram: [UInt8], from source: Endpoint, to target: Endpoint) {
        datagramCount += 1
        lastDatagramAt = now
        inspect(datagram, isFromBranch: source != headquartersEndpoint)
        let copies = generator.chance(percent: faults.duplicationPercent) ? 2 : 1
        for _ in 0..<copies {
            guard !generator.chance(percent: faults.lossPercent) else { continue }
            var delay = UInt64.random(in: faults.latency, using: &generator)
            if generator.chance(percent: faults.delayPercent) {
                delay += UInt64.random(in: 0...20 * second, using: &generator)
            }
            flights.push(
                Flight(dueAt: now + delay, datagram: datagram, source: source, target: target))
        }
    }

    private func deliver(_ flight: Flight) {
        if flight.target == headquartersEndpoint {
            headquarters.receive(
                flight.datagram, from: flight.source, now: headquartersNow,
                wallClock: headquartersWall)
        } else if flight.target == branchEndpoint {
            branch.receive(
                flight.datagram, from: flight.source, now: branchNow, wallClock: branchWall)
        }
    }

    /// Looks for a counter that encrypted two different packets.
    private func inspect(_ datagram: [UInt8], isFromBranch: Bool) {
        guard datagram[0] == 4 else { return }
        let name = CiphertextName(
            isFromBranch: isFromBranch,
            receiver: datagram[4..<8].reversed().reduce(0) { $0 << 8 | UInt32($1) },
            counter: datagram[8..<16].reversed().reduce(0) { $0 << 8 | UInt64($1) })
        if let earlier = ciphertexts.updateValue(datagram, forKey: name), earlier != datagram {
            violations.append("counter \(name.counter) was used twice")
        }
    }

    var allViolations: [String] { violations + branch.violations + headquarters.violations }
}

/// A datagram under way.
struct Flight {
    var dueAt: UInt64
    var datagram: [UInt8]
    var source: Endpoint
    var target: Endpoint
}

/// Datagrams under way, the next to arrive last.
struct Flights {
    private var items: [Flight] = []

    var nextAt: UInt64? { items.last?.dueAt }

    mutating func push(_ flight: Flight) {
        let place = items.lastIndex { $0.dueAt > flight.dueAt }
        items.insert(flight, at: place.map { $0 + 1 } ?? 0)
    }

    mutating func pop(dueBy now: UInt64) -> Flight? {
        guard let last = items.last, last.dueAt <= now else { return nil }
        return items.removeLast()
    }
}
