import Cryptography
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

/// Two ends that lag behind themselves, and between them datagrams that arrive in any order.
final class Crossing {
    var now: UInt64 = 1_000 * second
    private(set) var ends: [SimulatedNode] = []
    private(set) var initiationCount = 0
    private(set) var lastInitiationAt: UInt64 = 0
    private var flying: [(to: Int, bytes: [UInt8])] = []
    private var number: UInt64 = 1
    private var generator: SeededGenerator

    /// - Parameters:
    ///   - seed: Chooses the order, and with it which end plays which part.
    ///   - stock: The end that behaves as other implementations do.
    init(seed: UInt64, stock: Int? = nil, profile: TunnelProfile = .wireguard) {
        generator = SeededGenerator(seed: seed)
        let keys = [PrivateKey.seeded(33), PrivateKey.seeded(44)]
        for index in 0..<2 {
            ends.append(
                SimulatedNode(
                    "end \(index)", key: keys[index], seed: seed &* 2 &+ UInt64(index),
                    endpoint: { .test(UInt8(index)) },
                    transmit: { [unowned self] bytes, _ in self.carry(bytes, to: 1 - index) }))
        }
        for index in 0..<2 {
            ends[index].restart(
                peerKey: keys[1 - index].publicKey, peerEndpoint: .test(UInt8(1 - index)),
                profile: profile, seed: seed &* 2 &+ UInt64(index) &+ 7, now: now,
                wallClock: .test(now))
        }
        if let stock { ends[stock].isStock = true }
    }

    private func carry(_ bytes: [UInt8], to end: Int) {
        if bytes.first == 1 {
            initiationCount += 1
            lastInitiationAt = now
        }
        flying.append((end, bytes))
    }

    // MARK: Steps

    func beginBoth() {
        for end in ends { end.beginHandshake(now: now, wallClock: .test(now)) }
    }

    /// Each end has a packet for the other.
    func sendFromBoth() {
        for index in 0..<2 { sendData(from: index) }
    }

    /// One handshake without anything special.
    func establish() {
        ends[Int.random(in: 0...1, using: &generator)]
            .beginHandshake(now: now, wallClock: .test(now))
        deliverInOrder()
    }

    /// Lets everything that is under way happen, in any order.
    ///
    /// - Parameters:
    ///   - dataPercent: How often an end sends data between two events, at first.
    ///   - keepsOrder: Whether what one end sends arrives in the order of its sending.
    func shuffle(dataPercent: Int, keepsOrder: Bool = false) {
        for end in ends { end.isLagging = true }
        var dataLeft = 20
        while !flying.isEmpty || ends.contains(where: \.isBehind) {
            now += millisecond
            if dataLeft > 0, generator.chance(percent: dataPercent) {
                dataLeft -= 1
                sendData(from: Int.random(in: 0...1, using: &generator))
            }
            let end = ends[Int.random(in: 0...1, using: &generator)]
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: end.deviceCatchesUp(now: now, wallClock: .test(now))
            case 1: end.workerCatchesUp(now: now, wallClock: .test(now))
            default:
                guard !flying.isEmpty else { continue }
                var place = Int.random(in: flying.indices, using: &generator)
                let target = flying[place].to
                if keepsOrder, let first = flying.firstIndex(where: { $0.to == target }) {
                    place = first
                }
                deliver(flying.remove(at: place))
            }
        }
        for end in ends { end.isLagging = false }
    }

    /// Delivers what is under way and what follows from it.
    ///
    /// - Parameter lost: A kind that the network swallows, this time.
    func deliverInOrder(losing lost: WireGuardMessage.Kind? = nil) {
        while !flying.isEmpty {
            let next = flying.removeFirst()
            if let lost, next.bytes.first == UInt8(lost.rawValue) { continue }
            deliver(next)
        }
    }

    /// Both timers, and a packet from each end to the other.
    func exchange() {
        for index in 0..<2 {
            ends[index].advance(now: now, wallClock: .test(now))
            sendData(from: index)
        }
        deliverInOrder()
    }

    /// An exchange every two seconds.
    func exchange(until end: UInt64) {
        while now < end {
            exchange()
            now += 2 * second
        }
    }

    private func sendData(from index: Int) {
        ends[index].send(number, now: now, wallClock: .test(now))
        number += 1
    }

    private func deliver(_ datagram: (to: Int, bytes: [UInt8])) {
        ends[datagram.to].receive(
            datagram.bytes, from: .test(UInt8(1 - datagram.to)), now: now, wallClock: .test(now))
    }

    // MARK: Claims

    /// Both ends send with the two halves of one session, and each worker with its device's.
    func expectAgreement(at location: SourceLocation = #_sourceLocation) throws {
        let sessions = try ends.map { try #require($0.sending, sourceLocation: location) }
        #expect(sessions[0].remoteIndex == sessions[1].localIndex, sourceLocation: location)
        #expect(sessions[1].remoteIndex == sessions[0].localIndex, sourceLocation: location)
        for (end, session) in zip(ends, sessions) {
            #expect(end.device.currentSession(end.peer) === session, sourceLocation: location)
            #expect(end.violations == [], sourceLocation: location)
        }
    }

    /// All data has arrived.
    func expectNothingLost(at location: SourceLocation = #_sourceLocation) {
        let arrived = ends[0].deliveredSet.union(ends[1].deliveredSet)
        #expect(
            Set(1..<number).subtracting(arrived) == [], "\(ends[0].drops) \(ends[1].drops)",
            sourceLocation: location)
    }
}
