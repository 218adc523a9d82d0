import Cryptography
import PacketFormats
import PacketMemory
import Synchronization
import TestSupport
import Testing

@testable import WireGuardProtocol

struct DeviceSnapshotTests {
    // MARK: Round trip

    @Test func everythingOfADeviceComesBack() throws {
        let pair = try Pair()
        let preshared = try PresharedKey(bytes: Array(repeating: 7, count: 32)).orThrow()
        for device in [pair.left, pair.right] { device.setPresharedKey(0, preshared) }
        _ = try pair.handshake(now: 10 * second)
        _ = try pair.handshake(now: 20 * second)
        pair.left.setPersistentKeepalive(pair.rightID, seconds: 25, now: 21 * second)
        let activity = try pair.left.activity(pair.rightID).orThrow()
        _ = activity.packetSent(isData: true, byteCount: 1_000, now: 22 * second)
        _ = activity.packetReceived(isData: true, byteCount: 500, now: 23 * second)
        pair.left.noteActivity(pair.rightID, now: 23 * second)
        pair.left.advance(now: 24 * second, wallClock: .test(24 * second))
        _ = pair.left.actions.drain()

        let copy = try pair.left.handedOver(now: 25 * second)
        let (old, new) = (try pair.left.peer(0).orThrow(), try copy.peer(0).orThrow())
        #expect(copy.publicKey == pair.left.publicKey)
        #expect(copy.peerCount == 1 && copy.peerID(pair.rightKey.publicKey) == pair.rightID)
        #expect(copy.unsafePresharedKey(0)?.isEqual(to: preshared) == true)
        #expect(copy.endpoint(0) == pair.rightEndpoint)
        #expect(copy.persistentKeepalive(0) == 25)
        #expect(copy.lastHandshake(0) == pair.left.lastHandshake(0))
        #expect(copy.nextDeadline == pair.left.nextDeadline)
        for index in old.sessions.map(\.localIndex) {
            #expect(copy.indices.peer(of: index, in: 0) == 0)
        }
        #expect(copy.indices.count == pair.left.indices.count)
        #expect(new.activity.transmittedBytes == old.activity.transmittedBytes)
        #expect(new.activity.receivedBytes == old.activity.receivedBytes)
        #expect(new.activity.lastTraversal == old.activity.lastTraversal)
        for kind in PeerDeadlines.Kind.allCases {
            #expect(new.deadlines[kind] == old.deadlines[kind])
        }
        #expect(new.lastTimestampSent == old.lastTimestampSent)
        #expect(new.lastHandshakeSentAt == old.lastHandshakeSentAt)
        let isSecretEqual = new.staticStatic.isEqual(to: old.staticStatic)
        #expect(isSecretEqual)
        #expect(new.former.map(\.localIndex) == old.former.map(\.localIndex))
        let session = try new.current.orThrow()
        #expect(session.createdAt == 20 * second && session.isConfirmed && session.isInitiator)
        // What one writes of the copy is what one wrote of the device.
        #expect(
            Snapshot(of: copy, now: 25 * second).bytes
                == Snapshot(of: pair.left, now: 25 * second).bytes)
    }

    /// Its layout says nothing of paths, so that other versions read it.
    @Test func pathsAreMeasuredAnew() throws {
        let pair = try Pair(.branchlineAES)
        _ = try pair.handshake(now: second)
        let before = Snapshot(of: pair.left, now: second)
        pair.left.advance(now: second, wallClock: .test(second))
        #expect(pair.left.pathEstimate(0)?.probeCount == 1)
        #expect(Snapshot(of: pair.left, now: second).bytes == before.bytes)
        let copy = try pair.left.handedOver(now: 2 * second)
        _ = copy.actions.drain()
        #expect(copy.pathEstimate(0) == nil)
        #expect(copy.nextDeadline == 2 * second)
        copy.setPacketMax(1_300)
        copy.advance(now: 2 * second, wallClock: .test(2 * second))
        #expect(
            copy.actions.drain().names == ["sendProbe", "sendProbe", "limitPackets(1300)"])
    }

    @Test func deviceWithoutKeyAndPeersComesBack() throws {
        let copy = try WireGuardDevice(workerCount: 1).handedOver(now: second, workers: 1)
        #expect(copy.publicKey == nil && copy.peerCount == 0 && copy.nextDeadline == nil)
    }

    @Test func numbersOfRemovedPeersGoOnResting() throws {
        let device = WireGuardDevice(workerCount: 2, random: .seeded(4))
        for seed: UInt8 in 1...5 {
            _ = device.addPeer(PrivateKey.seeded(seed).publicKey, now: 0)
        }
        device.removePeer(1)
        device.removePeer(4)
        _ = device.actions.drain()
        let copy = try device.handedOver(now: second)
        #expect(copy.peerCount == 3)
        #expect(copy.publicKey(1) == nil && copy.publicKey(4) == nil)
        #expect(copy.addPeer(PrivateKey.seeded(9).publicKey, now: 0) == 5)
    }

    // MARK: Going on

    @Test func liveSessionGoesOnWithTheNextCounter() throws {
        let pair = try Pair()
        let sessions = try pair.handshake(now: second)
        let link = Link()
        for counter: UInt64 in 0..<10 {
            #expect(link.pass(from: sessions.left, to: sessions.right) == .accepted(counter))
        }
        let copy = try pair.left.handedOver(now: 2 * second)
        let session = try copy.currentSession(pair.rightID).orThrow()
        #expect(session.sentCount == 10)
        for counter: UInt64 in 10..<20 {
            #expect(link.pass(from: session, to: sessions.right) == .accepted(counter))
            #expect(link.pass(from: sessions.right, to: session) == .accepted(counter - 10))
        }
    }

    @Test(arguments: [0, 1, 63, 64, 65, 8_127, 8_128, 8_191, 8_192, 8_193, 20_000])
    func replaysStayReplaysAndGapsStayOpen(_ sent: UInt64) throws {
        let pair = try Pair()
        let sessions = try pair.handshake(now: second)
        let lost: (UInt64) -> Bool = { $0 % 7 == 3 }
        for counter in 0..<sent where !lost(counter) {
            #expect(sessions.right.acceptCounter(counter))
        }
        let copy = try pair.right.handedOver(now: 2 * second)
        let session = try copy.currentSession(pair.leftID).orThrow()
        let past = sessions.right.withReplayWindow { ($0.acceptedCount, $0.missingCount) }
        #expect(session.withReplayWindow { ($0.acceptedCount, $0.missingCount) } == past)
        for counter in 0..<sent {
            #expect(
                session.acceptCounter(counter) == sessions.right.acceptCounter(counter),
                "\(counter)")
        }
        #expect(session.acceptCounter(sent) && !session.acceptCounter(sent))
    }

    @Test func initiationUnderWayIsAnsweredToTheNewProcess() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        let copy = try pair.left.handedOver(now: second)
        #expect(
            pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
                == .accepted(pair.leftID))
        let answers = pair.right.actions.drain()
        let response = try answers.handshake(.response).orThrow()
        #expect(
            copy.receive(response, from: pair.rightEndpoint, now: second) == .accepted(0))
        let session = try copy.currentSession(0).orThrow()
        let other = try answers.installed.orThrow()
        #expect(Link().pass(from: session, to: other) == .accepted(0))
    }

    @Test func unconfirmedSessionIsConfirmedAtTheNewProcess() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        let copy = try pair.right.handedOver(now: second)
        let actions = copy.actions.drain()
        #expect(actions.names == ["install(receivingOnly)"])
        _ = pair.left.receive(response, from: pair.rightEndpoint, now: second)
        let session = try pair.left.currentSession(pair.rightID).orThrow()
        let waiting = try actions.installed.orThrow()
        #expect(Link().pass(from: session, to: waiting) == .accepted(0))
        #expect(waiting.confirm())
        copy.sessionConfirmed(waiting, now: second)
        #expect(copy.currentSession(pair.leftID) === waiting)
    }

    @Test func earlierInitiationIsAReplayForTheNewProcess() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        _ = pair.right.actions.drain()
        let copy = try pair.right.handedOver(now: 2 * second)
        #expect(
            copy.receive(initiation, from: pair.leftEndpoint, now: 3 * second)
                == .dropped(.replayedTimestamp))
    }

    @Test func timestampsGoOnGrowingWhenTheWallClockWentBack() throws {
        let pair = try Pair()
        _ = try pair.handshake(now: 100 * second)
        let copy = try pair.left.handedOver(now: 101 * second)
        let peer = try copy.peer(0).orThrow()
        copy.beginHandshake(peer, now: 110 * second, wallClock: .test(0))
        let initiation = try copy.actions.drain().handshake(.initiation).orThrow()
        #expect(
            pair.right.receive(initiation, from: pair.leftEndpoint, now: 110 * second)
                == .accepted(pair.leftID))
    }

    @Test func dataPathLearnsOfEverySessionInOrder() throws {
        let pair = try Pair()
        _ = try pair.handshake(now: 10 * second)
        _ = try pair.handshake(now: 20 * second).left.reserveCounters(1)
        let initiation = try pair.right.initiate(pair.leftID, now: 30 * second).orThrow()
        _ = pair.left.receive(initiation, from: pair.rightEndpoint, now: 30 * second)
        _ = pair.left.actions.drain()
        let copy = try pair.left.handedOver(now: 31 * second)
        #expect(
            copy.actions.drain().names
                == ["install(receivingOnly)", "install(sending)", "install(receivingOnly)"])
    }

    @Test func sessionThatNothingWasSentWithIsShownToTheResponder() throws {
        let pair = try Pair()
        _ = try pair.handshake(now: 10 * second)
        let copy = try pair.left.handedOver(now: 11 * second)
        #expect(copy.actions.drain().names == ["install(sending)", "sendStagedOrKeepalive"])
    }

    @Test func oneOfManyDevicesKeepsItsNumberAndIndices() throws {
        let placement = ReceivePlacement(workerCount: 2, laneCount: 4, lane: 3)
        let device = WireGuardDevice(tunnel: 7, placement: placement, random: .seeded(5))
        device.setPrivateKey(.seeded(11), now: 0)
        let id = try device.addPeer(PrivateKey.seeded(22).publicKey, now: 0).orThrow()
        device.setEndpoint(id, .test(2), now: 0)
        _ = try device.initiate(id, now: second).orThrow()
        let index = try device.peer(id).orThrow().pending.orThrow().localIndex
        let indices = LocalIndices()
        let snapshot = Snapshot(of: device, now: second)
        let copy = WireGuardDevice(tunnel: 7, placement: placement, indices: indices)
        try snapshot.restore(into: copy)
        #expect(indices.tunnel(of: index) == 7 && index >> 8 & 3 == 3)
        for other in [
            WireGuardDevice(tunnel: 6, placement: placement),
            WireGuardDevice(
                tunnel: 7, placement: ReceivePlacement(workerCount: 2, laneCount: 4, lane: 2)),
            // Its index is another device's.
            WireGuardDevice(tunnel: 7, placement: placement, indices: indices),
        ] {
            #expect(throws: SnapshotError.self) { try snapshot.restore(into: other) }
        }
    }

    @Test func timersOfTheOldProcessAreDueAtTheNewOne() throws {
        let pair = try Pair()
        _ = try pair.handshake(now: second)
        let activity = try pair.left.activity(0).orThrow()
        #expect(activity.packetSent(isData: true, byteCount: 100, now: 2 * second))
        // Handed over before the control path heard of the packet.
        let copy = try pair.left.handedOver(now: 3 * second)
        _ = copy.actions.drain()
        let due = try copy.nextDeadline.orThrow()
        #expect((17 * second...18 * second).contains(due))
        copy.advance(now: due, wallClock: .test(due))
        #expect(copy.actions.drain().handshake(.initiation) != nil)
    }

    // MARK: Profiles

    @Test(arguments: TunnelProfile.allCases)
    func profileAndItsSessionsComeBack(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let sessions = try pair.handshake(now: second)
        let link = Link()
        for counter: UInt64 in 0..<10 {
            #expect(link.pass(from: sessions.left, to: sessions.right) == .accepted(counter))
        }
        let initiation = try pair.left.initiate(pair.rightID, now: 10 * second).orThrow()
        let copy = try pair.left.handedOver(now: 11 * second)
        #expect(copy.profile(pair.rightID) == profile)
        let session = try copy.currentSession(pair.rightID).orThrow()
        #expect(session.profile == profile)
        for counter: UInt64 in 10..<20 {
            #expect(link.pass(from: session, to: sessions.right) == .accepted(counter))
            #expect(link.pass(from: sessions.right, to: session) == .accepted(counter - 10))
        }
        // The initiation that was under way is answered to the new process.
        _ = copy.actions.drain()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: 12 * second)
        let answers = pair.right.actions.drain()
        let response = try answers.handshake(.response).orThrow()
        #expect(copy.receive(response, from: pair.rightEndpoint, now: 12 * second) == .accepted(0))
        let renewed = try copy.currentSession(0).orThrow()
        #expect(link.pass(from: renewed, to: try answers.installed.orThrow()) == .accepted(0))
        #expect(
            Snapshot(of: copy, now: 13 * second).bytes
                == Snapshot(of: try copy.handedOver(now: 13 * second), now: 13 * second).bytes)
    }

    @Test(arguments: [0, 1, 64, 65_535, 65_536, 65_537, 150_000])
    func wideWindowComesBack(_ sent: UInt64) throws {
        let pair = try Pair(.branchlineAES)
        let sessions = try pair.handshake(now: second)
        for counter in 0..<sent where counter % 7 != 3 {
            #expect(sessions.right.acceptCounter(counter))
        }
        let copy = try pair.right.handedOver(now: 2 * second)
        let session = try copy.currentSession(pair.leftID).orThrow()
        for counter in 0..<sent {
            #expect(
                session.acceptCounter(counter) == sessions.right.acceptCounter(counter),
                "\(counter)")
        }
        #expect(session.acceptCounter(sent) && !session.acceptCounter(sent))
    }

    @Test func counterBeyondTheCiphersLimitIsRefused() throws {
        let pair = try Pair(.branchlineAES)
        let (left, _) = try pair.handshake(now: second)
        left.skipCounters(to: 1 << 27)
        _ = try pair.left.handedOver(now: second)
        left.skipCounters(to: (1 << 27) + 1)
        #expect(throws: SnapshotError.invalid("a session's counter")) {
            try pair.left.handedOver(now: second)
        }
    }

    // MARK: Hostile input

    @Test func everyShorterSnapshotIsRefused() throws {
        let snapshot = try Snapshot.ofBusyDevice()
        let whole = try snapshot.restored()
        #expect(whole.device.peerCount == 2 && whole.remainingCount == 0)
        for count in 0..<snapshot.bytes.count {
            #expect(throws: SnapshotError.self) {
                try Snapshot(bytes: Array(snapshot.bytes.prefix(count)), now: snapshot.now)
                    .device()
            }
        }
    }

    @Test func noChangedByteMakesTheReaderTrap() throws {
        let snapshot = try Snapshot.ofBusyDevice()
        var generator = SeededGenerator(seed: 6)
        for offset in snapshot.bytes.indices {
            var bytes = snapshot.bytes
            for value in [bytes[offset] ^ 1, bytes[offset] ^ 0x80, generator.byte()] {
                bytes[offset] = value
                guard let device = try? Snapshot(bytes: bytes, now: snapshot.now).device() else {
                    continue
                }
                // Whatever was believed can be worked with.
                device.advance(now: snapshot.now + second, wallClock: .test(snapshot.now))
                device.expireAllKeys()
            }
        }
    }

    @Test func noiseIsRefused() throws {
        var generator = SeededGenerator(seed: 7)
        let start = Array(try Snapshot.ofBusyDevice().bytes.prefix(6))
        for _ in 0..<2_000 {
            let count = Int.random(in: 0...600, using: &generator)
            let bytes = start + (0..<count).map { _ in generator.byte() }
            #expect(throws: SnapshotError.self) {
                try Snapshot(bytes: bytes, now: second).device()
            }
        }
    }

    @Test func otherFormatsAndClocksAreRefusedByName() throws {
        let snapshot = try Snapshot.ofBusyDevice()
        var later = snapshot.bytes
        for version in [1, 3] as [UInt8] {
            later[4] = version
            #expect(throws: SnapshotError.unknownFormat(version: UInt16(version))) {
                try Snapshot(bytes: later, now: snapshot.now).device()
            }
        }
        var other = snapshot.bytes
        other[0] ^= 1
        #expect(throws: SnapshotError.unknownFormat(version: 0)) {
            try Snapshot(bytes: other, now: snapshot.now).device()
        }
        for now in [snapshot.now - 1, snapshot.now + 60 * second + 1] {
            #expect(throws: SnapshotError.foreignClock) {
                try Snapshot(bytes: snapshot.bytes, now: now).device()
            }
        }
        #expect(throws: SnapshotError.invalid("the device's place")) {
            try snapshot.device(workers: 3)
        }
    }

    @Test func peersAndIndicesThatComeTwiceAreRefused() throws {
        let snapshot = try Snapshot.ofBusyDevice()
        let keys = [UInt8(22), 33].map { PrivateKey.seeded($0).publicKey.bytes }
        let places = keys.compactMap { snapshot.place(of: $0) }
        try #require(places.count == 2)
        // A peer's number lies before its key.
        for (place, width) in [(places[1], 32), (places[1] - 4, 4)] {
            var bytes = snapshot.bytes
            let source = place - places[1] + places[0]
            for offset in 0..<width { bytes[place + offset] = bytes[source + offset] }
            #expect(throws: SnapshotError.self) {
                try Snapshot(bytes: bytes, now: snapshot.now).device()
            }
        }
    }

    @Test func countThatTheMemoryCannotHoldIsRefused() throws {
        var writer = SnapshotWriter()
        writer.write(count: 3)
        #expect(writer.count == 4)
        ByteArena.withCopy(of: [3] + Array(repeating: 0, count: 15)) { region in
            for (byteCountMin, isHeld) in [(4, true), (5, false)] {
                var reader = SnapshotReader(region)
                let count = try? reader.count(max: 3, byteCountMin: byteCountMin, of: "items")
                #expect(count == (isHeld ? 3 : nil))
            }
            var reader = SnapshotReader(region)
            #expect(throws: SnapshotError.invalid("3 items")) {
                try reader.count(max: 2, byteCountMin: 1, of: "items")
            }
        }
    }
}

// MARK: - Support

/// What a device wrote.
private struct Snapshot {
    var bytes: [UInt8]
    var now: UInt64

    init(bytes: [UInt8], now: UInt64) {
        self.bytes = bytes
        self.now = now
    }

    init(of device: WireGuardDevice, now: UInt64) {
        self.now = now
        var counting = SnapshotWriter()
        device.writeSnapshot(to: &counting, now: now)
        let arena = ByteArena(count: counting.count)
        bytes = withExtendedLifetime(arena) {
            var writer = SnapshotWriter(into: arena.whole)
            device.writeSnapshot(to: &writer, now: now)
            precondition(writer.count == counting.count, "counted and written sizes differ")
            return arena.whole.bytes
        }
    }

    /// Where some bytes begin.
    func place(of part: [UInt8]) -> Int? {
        bytes.indices.dropLast(part.count - 1).first { start in
            bytes[start..<start + part.count].elementsEqual(part)
        }
    }

    /// The device, and how many bytes it did not ask for.
    func restored(workers: Int = 2) throws -> (device: WireGuardDevice, remainingCount: Int) {
        let device = WireGuardDevice(workerCount: workers, random: .seeded(99))
        return (device, try restore(into: device))
    }

    /// - Returns: How many bytes the device did not ask for.
    @discardableResult
    func restore(into device: WireGuardDevice) throws -> Int {
        try ByteArena.withCopy(of: bytes) { region in
            var reader = SnapshotReader(region)
            try device.restoreSnapshot(from: &reader, now: now)
            return reader.remainingCount
        }
    }

    func device(workers: Int = 2) throws -> WireGuardDevice {
        try restored(workers: workers).device
    }

    /// Two peers: one with sessions of all kinds, one of profile `branchline` with an initiation
    /// under way.
    static func ofBusyDevice() throws -> Snapshot {
        let pair = try Pair()
        for now in [10 * second, 20 * second] {
            let sessions = try pair.handshake(now: now)
            for counter: UInt64 in 0..<100 { _ = sessions.left.acceptCounter(counter) }
        }
        let initiation = try pair.right.initiate(pair.leftID, now: 30 * second).orThrow()
        _ = pair.left.receive(initiation, from: pair.rightEndpoint, now: 30 * second)
        let other = try pair.left.addPeer(PrivateKey.seeded(33).publicKey, now: 0).orThrow()
        pair.left.setEndpoint(other, .test(3), now: 0)
        pair.left.setProfile(other, .branchlineChaCha, now: 0)
        pair.left.setPersistentKeepalive(other, seconds: 25, now: 30 * second)
        _ = pair.left.actions.drain()
        _ = pair.left.initiate(other, now: 30 * second)
        _ = pair.left.actions.drain()
        return Snapshot(of: pair.left, now: 31 * second)
    }
}

extension WireGuardDevice {
    /// This device as another process has it.
    fileprivate func handedOver(now: UInt64, workers: Int = 2) throws -> WireGuardDevice {
        let device = try Snapshot(of: self, now: now).device(workers: workers)
        device.announceSessions()
        return device
    }
}

/// Carries packets from one session to another.
private struct Link {
    enum Outcome: Equatable {
        case accepted(UInt64)
        case refused
    }

    private let cipher = PacketCipher()
    private let datagram = ByteArena(count: 128)

    func pass(from sender: Session, to receiver: Session) -> Outcome {
        guard let counter = sender.reserveCounters(1) else { return .refused }
        let packet = ByteArena(count: 32)
        packet.whole.fill(with: 5)
        let count = sender.seal(
            counter: counter, packet: packet.whole, into: datagram.whole, with: cipher)
        let region = datagram.whole.prefix(count)
        guard receiver.localIndex == sender.remoteIndex,
            receiver.open(datagram: region, with: cipher)?.bytes == packet.whole.bytes,
            receiver.acceptCounter(counter)
        else { return .refused }
        return .accepted(counter)
    }
}

extension SeededGenerator {
    fileprivate mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: next() >> 24) }
}
