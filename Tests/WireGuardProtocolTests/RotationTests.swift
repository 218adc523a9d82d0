import Cryptography
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

/// New static keys under sessions that live on.
struct RotationTests {
    private let newLeftKey = PrivateKey.seeded(111)
    private let newRightKey = PrivateKey.seeded(122)

    /// The left end gets another key of its own.
    private func rotateLeft(_ pair: Pair, now: UInt64) throws {
        try pair.left.rotatePrivateKey(newLeftKey, now: now)
    }

    /// The right end hears of the left one's other key.
    private func tellRight(_ pair: Pair, now: UInt64) throws {
        try pair.right.replacePublicKey(of: pair.leftID, with: newLeftKey.publicKey, now: now)
    }

    /// A device with a chosen key that has the pair's right end as a peer, and its initiation.
    private func initiation(
        by key: PrivateKey, to publicKey: PublicKey, presharedKey: PresharedKey? = nil,
        now: UInt64
    ) throws -> [UInt8] {
        let device = WireGuardDevice(workerCount: 1, random: .seeded(99))
        device.setPrivateKey(key, now: 0)
        let peer = try device.addPeer(publicKey, now: 0).orThrow()
        device.setPresharedKey(peer, presharedKey)
        device.setEndpoint(peer, .test(2), now: 0)
        return try device.initiate(peer, now: now).orThrow()
    }

    private func expectTraffic(
        _ sessions: (left: Session, right: Session), now: UInt64,
        at location: SourceLocation = #_sourceLocation
    ) throws {
        let cipher = PacketCipher()
        let pairs = [(sessions.left, sessions.right), (sessions.right, sessions.left)]
        for (sender, receiver) in pairs {
            #expect(sender.isUsableForSending(now: now), sourceLocation: location)
            #expect(receiver.isUsableForReceiving(now: now), sourceLocation: location)
            let datagram = ByteArena(count: 64)
            let counter = try sender.reserveCounters(1).orThrow()
            let size = ByteArena.withCopy(of: [UInt8](0..<16)) {
                sender.seal(counter: counter, packet: $0, into: datagram.whole, with: cipher)
            }
            let inner = receiver.open(datagram: datagram.whole.prefix(size), with: cipher)
            #expect(inner?.bytes == [UInt8](0..<16), sourceLocation: location)
            #expect(receiver.acceptCounter(counter), sourceLocation: location)
        }
    }

    // MARK: What stays

    @Test func sessionsStayInForceAtBothEnds() throws {
        let pair = try Pair()
        let sessions = try pair.handshake(now: second)
        _ = pair.right.actions.drain()
        try expectTraffic(sessions, now: second)
        try rotateLeft(pair, now: 2 * second)
        try tellRight(pair, now: 2 * second)
        #expect(pair.left.actions.isEmpty, "\(pair.left.actions.drain().names)")
        #expect(pair.right.actions.isEmpty, "\(pair.right.actions.drain().names)")
        #expect(pair.left.currentSession(pair.rightID) === sessions.left)
        #expect(pair.right.currentSession(pair.leftID) === sessions.right)
        try expectTraffic(sessions, now: 100 * second)
        #expect(sessions.left.sentCount == 2)
    }

    @Test func everythingElseOfThePeerStays() throws {
        let pair = try Pair()
        let presharedKey = PresharedKey.generate()
        pair.right.setPresharedKey(pair.leftID, presharedKey)
        pair.left.setPresharedKey(pair.rightID, presharedKey)
        pair.right.setPersistentKeepalive(pair.leftID, seconds: 25, now: second)
        _ = try pair.handshake(now: second)
        let activity = pair.right.activity(pair.leftID)
        let deadline = pair.right.nextDeadline
        let lastHandshake = pair.right.lastHandshake(pair.leftID)
        try tellRight(pair, now: 2 * second)
        #expect(pair.right.peerCount == 1)
        #expect(pair.right.peerID(newLeftKey.publicKey) == pair.leftID)
        #expect(pair.right.peerID(pair.leftKey.publicKey) == nil)
        #expect(pair.right.publicKey(pair.leftID) == newLeftKey.publicKey)
        #expect(pair.right.endpoint(pair.leftID) == pair.leftEndpoint)
        #expect(pair.right.persistentKeepalive(pair.leftID) == 25)
        #expect(pair.right.activity(pair.leftID) === activity)
        #expect((activity?.receivedBytes ?? 0) > 0)
        #expect(pair.right.nextDeadline == deadline)
        #expect(pair.right.lastHandshake(pair.leftID) == lastHandshake)
        #expect(lastHandshake != nil)
        // Of the preshared key the next handshake tells.
        try rotateLeft(pair, now: 2 * second)
        _ = try pair.handshake(now: 30 * second)
    }

    /// What an attacker recorded before may not be tried under the new key: the memory of
    /// timestamps goes by the peer, not by its key.
    @Test func timestampsGoOnUnderTheNewKey() throws {
        let pair = try Pair()
        _ = try pair.handshake(now: 50 * second)
        try tellRight(pair, now: 50 * second)
        for (moment, outcome) in [
            (49 * second, ReceiveOutcome.dropped(.replayedTimestamp)),
            (50 * second, .dropped(.replayedTimestamp)), (51 * second, .accepted(pair.leftID)),
        ] {
            let message = try initiation(
                by: newLeftKey, to: pair.rightKey.publicKey, now: moment)
            #expect(
                pair.right.receive(message, from: pair.leftEndpoint, now: 60 * second) == outcome)
        }
    }

    @Test func unconfirmedSessionIsStillConfirmed() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        let answers = pair.right.actions.drain()
        let right = try answers.installed.orThrow()
        try tellRight(pair, now: second)
        let response = try answers.handshake(.response).orThrow()
        #expect(
            pair.left.receive(response, from: pair.rightEndpoint, now: second)
                == .accepted(pair.rightID))
        let left = try pair.left.actions.drain().installed.orThrow()
        #expect(right.confirm())
        pair.right.sessionConfirmed(right, now: second)
        #expect(pair.right.actions.drain().names == ["promote"])
        try expectTraffic((left, right), now: 2 * second)
    }

    @Test func settingThePrivateKeyStillEndsTheSessions() throws {
        let pair = try Pair()
        let (left, _) = try pair.handshake(now: second)
        pair.left.setPrivateKey(newLeftKey, now: 2 * second)
        #expect(left.isRetired)
        #expect(pair.left.currentSession(pair.rightID) == nil)
    }

    // MARK: The next handshake

    @Test func nextHandshakeUsesTheNewKeys() throws {
        let pair = try Pair()
        let old = try pair.handshake(now: second)
        try rotateLeft(pair, now: 2 * second)
        try tellRight(pair, now: 2 * second)
        try pair.right.rotatePrivateKey(newRightKey, now: 2 * second)
        try pair.left.replacePublicKey(
            of: pair.rightID, with: newRightKey.publicKey, now: 2 * second)
        #expect(pair.left.publicKey == newLeftKey.publicKey)
        let new = try pair.handshake(now: 30 * second)
        #expect(new.left !== old.left)
        try expectTraffic(new, now: 30 * second)
        try expectTraffic(old, now: 30 * second)

        // And the other way round.
        let message = try pair.right.initiate(pair.leftID, now: 60 * second).orThrow()
        #expect(
            pair.left.receive(message, from: pair.rightEndpoint, now: 60 * second)
                == .accepted(pair.rightID))
    }

    @Test func oldKeyOfThePeerIsRefusedLikeAStrangers() throws {
        let pair = try Pair()
        _ = try pair.handshake(now: second)
        try tellRight(pair, now: 2 * second)
        let message = try pair.left.initiate(pair.rightID, now: 30 * second).orThrow()
        let stranger = try initiation(
            by: .seeded(77), to: pair.rightKey.publicKey, now: 30 * second)
        _ = pair.right.actions.drain()
        for bytes in [message, stranger] {
            #expect(
                pair.right.receive(bytes, from: .test(7), now: 30 * second)
                    == .dropped(.unknownPeer))
            #expect(pair.right.actions.isEmpty)
        }
        #expect(pair.right.endpoint(pair.leftID) == pair.leftEndpoint)
    }

    @Test func newKeyIsUnknownUntilItIsToldOf() throws {
        let pair = try Pair()
        _ = try pair.handshake(now: second)
        try rotateLeft(pair, now: 2 * second)
        let message = try pair.left.initiate(pair.rightID, now: 30 * second).orThrow()
        #expect(
            pair.right.receive(message, from: pair.leftEndpoint, now: 30 * second)
                == .dropped(.unknownPeer))
        try tellRight(pair, now: 31 * second)
        #expect(
            pair.right.receive(message, from: pair.leftEndpoint, now: 32 * second)
                == .accepted(pair.leftID))
    }

    @Test func messagesToTheOldKeyOfTheDeviceAreRefused() throws {
        let pair = try Pair()
        _ = try pair.handshake(now: second)
        try pair.right.rotatePrivateKey(newRightKey, now: 2 * second)
        let message = try pair.left.initiate(pair.rightID, now: 30 * second).orThrow()
        #expect(
            pair.right.receive(message, from: pair.leftEndpoint, now: 30 * second)
                == .dropped(.invalidMAC1))
    }

    // MARK: Handshakes under way

    @Test(arguments: [true, false])
    func initiationUnderWayIsBegunAnew(_ isOwnKey: Bool) throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        #expect(
            pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
                == .accepted(pair.leftID))
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        if isOwnKey {
            try rotateLeft(pair, now: 2 * second)
            try tellRight(pair, now: 2 * second)
        } else {
            try pair.right.rotatePrivateKey(newRightKey, now: 2 * second)
            try pair.left.replacePublicKey(
                of: pair.rightID, with: newRightKey.publicKey, now: 2 * second)
        }
        #expect(pair.left.peer(pair.rightID)?.pending == nil)
        #expect(
            pair.left.receive(response, from: pair.rightEndpoint, now: 2 * second)
                == .dropped(isOwnKey ? .invalidMAC1 : .unknownReceiverIndex))

        // Five seconds lie between two initiations, whatever happens.
        pair.left.advance(now: 2 * second, wallClock: .test(2 * second))
        #expect(pair.left.actions.isEmpty)
        let due = try pair.left.nextDeadline.orThrow()
        #expect(due == second + ProtocolConstants.rekeyTimeout)
        pair.left.advance(now: due, wallClock: .test(due))
        let again = try pair.left.actions.drain().handshake(.initiation).orThrow()
        #expect(
            pair.right.receive(again, from: pair.leftEndpoint, now: due) == .accepted(pair.leftID))
        let answer = try pair.right.actions.drain().handshake(.response).orThrow()
        #expect(
            pair.left.receive(answer, from: pair.rightEndpoint, now: due)
                == .accepted(pair.rightID))
    }

    @Test func quietPeerIsNotContacted() throws {
        let pair = try Pair()
        try rotateLeft(pair, now: second)
        try pair.left.replacePublicKey(of: pair.rightID, with: newRightKey.publicKey, now: second)
        #expect(pair.left.nextDeadline == nil)
        #expect(pair.left.actions.isEmpty)
    }

    @Test func cookieStaysGood() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second, isUnderLoad: true)
        let reply = try pair.right.actions.drain().handshake(.cookieReply).orThrow()
        #expect(
            pair.left.receive(reply, from: pair.rightEndpoint, now: second)
                == .accepted(pair.rightID))
        try pair.right.rotatePrivateKey(newRightKey, now: 2 * second)
        try pair.left.replacePublicKey(
            of: pair.rightID, with: newRightKey.publicKey, now: 2 * second)
        pair.left.advance(now: 7 * second, wallClock: .test(7 * second))
        let again = try pair.left.actions.drain().handshake(.initiation).orThrow()
        #expect(
            pair.right.receive(again, from: pair.leftEndpoint, now: 7 * second, isUnderLoad: true)
                == .accepted(pair.leftID))
    }

    // MARK: Refusals

    @Test func keyThatIsTakenIsRefused() throws {
        let pair = try Pair()
        let sessions = try pair.handshake(now: second)
        _ = pair.right.actions.drain()
        let other = try pair.right.addPeer(newLeftKey.publicKey, now: second).orThrow()
        #expect(throws: KeyRotationError.keyOfAnotherPeer) { try tellRight(pair, now: second) }
        #expect(throws: KeyRotationError.keyOfDevice) {
            try pair.right.replacePublicKey(
                of: pair.leftID, with: pair.rightKey.publicKey, now: second)
        }
        #expect(throws: KeyRotationError.unknownPeer) {
            try pair.right.replacePublicKey(of: 77, with: newRightKey.publicKey, now: second)
        }
        #expect(throws: KeyRotationError.keyOfAnotherPeer) {
            try pair.right.rotatePrivateKey(newLeftKey, now: second)
        }
        #expect(pair.right.actions.isEmpty)
        #expect(pair.right.peerCount == 2)
        #expect(pair.right.peerID(pair.leftKey.publicKey) == pair.leftID)
        #expect(pair.right.peerID(newLeftKey.publicKey) == other)
        #expect(pair.right.publicKey == pair.rightKey.publicKey)
        try expectTraffic(sessions, now: 2 * second)

        // A key that was given up is free again.
        pair.right.removePeer(other)
        try tellRight(pair, now: 2 * second)
        let former = try pair.right.addPeer(pair.leftKey.publicKey, now: 2 * second)
        #expect(former != nil && former != pair.leftID)
    }

    @Test func sameKeyChangesNothing() throws {
        let pair = try Pair()
        _ = try pair.left.initiate(pair.rightID, now: second).orThrow()
        try pair.left.rotatePrivateKey(pair.leftKey, now: second)
        try pair.left.replacePublicKey(
            of: pair.rightID, with: pair.rightKey.publicKey, now: second)
        #expect(pair.left.peer(pair.rightID)?.pending != nil)
    }

    @Test func firstPrivateKeyCanBeARotation() throws {
        let device = WireGuardDevice(workerCount: 1, random: .seeded(1))
        try device.rotatePrivateKey(newLeftKey, now: second)
        #expect(device.publicKey == newLeftKey.publicKey)
    }

    // MARK: Every order of the switches

    /// All orders in which the two ends can take up the two new keys.
    static let orders: [[SimulatedNetwork.KeySwitch]] =
        permutations(SimulatedNetwork.KeySwitch.allCases)

    private static func permutations(
        _ items: [SimulatedNetwork.KeySwitch]
    ) -> [[SimulatedNetwork.KeySwitch]] {
        guard !items.isEmpty else { return [[]] }
        return items.flatMap { first in
            permutations(items.filter { $0 != first }).map { [first] + $0 }
        }
    }

    /// Packets every half second from both ends, while both keys change at any moments of one
    /// session's life.
    @Test(arguments: orders, Seeds.count(2))
    func switchesWithinASessionsLifeLoseNothing(
        _ order: [SimulatedNetwork.KeySwitch], _ seed: UInt64
    ) throws {
        let network = SimulatedNetwork(seed: seed)
        network.faults.latency = 20 * millisecond...60 * millisecond
        var traffic = Traffic(network)
        let latest = ProtocolConstants.rejectAfterTime - 2 * ProtocolConstants.rekeyTimeout
        let moments = order.map { _ in
            network.now + UInt64.random(in: 0...latest, using: &network.generator)
        }.sorted()
        for (moment, keySwitch) in zip(moments, order) {
            traffic.flow(until: moment, every: second / 2)
            try network.perform(keySwitch)
        }
        traffic.flow(until: network.now + 400 * second, every: second / 2)
        traffic.expectNothingLost()
    }

    /// The same within the few round trips of two handshakes that cross.
    @Test(arguments: orders, Seeds.count(2))
    func switchesWithinCrossingHandshakesLoseNothing(
        _ order: [SimulatedNetwork.KeySwitch], _ seed: UInt64
    ) throws {
        let network = SimulatedNetwork(seed: seed)
        network.faults.latency = 20 * millisecond...60 * millisecond
        var traffic = Traffic(network)
        traffic.flow(until: network.now + 20 * second, every: second / 2)
        network.beginBothHandshakes()
        for keySwitch in order {
            let pause = UInt64.random(in: 0...80 * millisecond, using: &network.generator)
            traffic.flow(until: network.now + pause, every: 5 * millisecond)
            try network.perform(keySwitch)
        }
        traffic.flow(until: network.now + 300 * millisecond, every: 5 * millisecond)
        traffic.flow(until: network.now + 400 * second, every: second / 2)
        traffic.expectNothingLost()
    }
}

/// Numbered packets in both directions of a tunnel that is established.
private struct Traffic {
    let network: SimulatedNetwork
    private let first: UInt64
    private var number: UInt64 = 1

    init(_ network: SimulatedNetwork) {
        self.network = network
        while network.branch.delivered.isEmpty || network.headquarters.delivered.isEmpty {
            network.sendFromBranch(number)
            network.sendFromHeadquarters(number + 1)
            number += 2
            network.run(second)
        }
        first = number
    }

    mutating func flow(until end: UInt64, every interval: UInt64) {
        while network.now < end {
            network.sendFromBranch(number)
            network.sendFromHeadquarters(number + 1)
            number += 2
            network.run(min(interval, end - network.now))
        }
    }

    func expectNothingLost(at location: SourceLocation = #_sourceLocation) {
        network.run(second)
        let arrived = network.branch.deliveredSet.union(network.headquarters.deliveredSet)
        #expect(
            Set(first..<number).subtracting(arrived) == [],
            "\(network.branch.drops) \(network.headquarters.drops)", sourceLocation: location)
        #expect(network.allViolations == [], sourceLocation: location)
        for node in [network.branch, network.headquarters] {
            let peer = node.flatMap { $0.device.publicKey($0.peer) }
            let other = node === network.branch ? network.headquarters : network.branch
            #expect(peer == other?.key.publicKey, sourceLocation: location)
        }
        // The new keys have made a session: the old ones are over by now.
        #expect(network.branch.sending?.isUsableForSending(now: network.branchNow) == true)
    }
}
