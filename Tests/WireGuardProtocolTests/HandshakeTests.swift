import Cryptography
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

struct HandshakeTests {
    @Test func initiatorInstallsBeforeItConfirms() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: 1).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: 1)
        let answers = pair.right.actions.drain()
        #expect(answers.names == ["install(receivingOnly)", "response"])
        let response = try answers.handshake(.response).orThrow()
        _ = pair.left.receive(response, from: pair.rightEndpoint, now: 1)
        #expect(pair.left.actions.drain().names == ["install(sending)", "sendStagedOrKeepalive"])
        let session = try answers.installed.orThrow()
        #expect(!session.isUsableForSending(now: 1))
        #expect(session.isUsableForReceiving(now: 1))
        #expect(session.confirm())
        #expect(!session.confirm())
        pair.right.sessionConfirmed(session, now: 1)
        #expect(pair.right.actions.drain().names == ["promote"])
        #expect(session.isUsableForSending(now: 1))
        pair.right.sessionConfirmed(session, now: 1)
        #expect(pair.right.actions.isEmpty)
    }

    @Test func bothEndsCanReadEachOther() throws {
        let pair = try Pair()
        let (left, right) = try pair.handshake(now: 1)
        #expect(left.remoteIndex == right.localIndex)
        #expect(right.remoteIndex == left.localIndex)
        let cipher = PacketCipher()
        for (sender, receiver) in [(left, right), (right, left)] {
            let datagram = ByteArena(count: 64)
            let size = try ByteArena.withCopy(of: [UInt8](0..<16)) { packet in
                let counter = try sender.reserveCounters(1).orThrow()
                return sender.seal(
                    counter: counter, packet: packet, into: datagram.whole, with: cipher)
            }
            #expect(size == 48)
            let inner = receiver.open(datagram: datagram.whole.prefix(size), with: cipher)
            #expect(inner?.bytes == [UInt8](0..<16))
            #expect(receiver.acceptCounter(0))
            #expect(!receiver.acceptCounter(0))
        }
    }

    @Test func presharedKeysMustAgreeAtTheNextHandshake() throws {
        let pair = try Pair()
        let (old, _) = try pair.handshake(now: 1)
        let key = PresharedKey.generate()
        pair.right.setPresharedKey(pair.leftID, key)
        #expect(pair.right.actions.drain().retired.isEmpty)
        #expect(old.isUsableForSending(now: 10 * second))

        let initiation = try pair.left.initiate(pair.rightID, now: 10 * second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: 10 * second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        #expect(
            pair.left.receive(response, from: pair.rightEndpoint, now: 10 * second)
                == .dropped(.handshakeAuthenticationFailed))

        // The failure changed nothing: with the key, the retry succeeds.
        pair.left.setPresharedKey(pair.rightID, key)
        pair.left.advance(now: 16 * second, wallClock: .test(16 * second))
        let retry = try pair.left.actions.drain().handshake(.initiation).orThrow()
        _ = pair.right.receive(retry, from: pair.leftEndpoint, now: 16 * second)
        let answer = try pair.right.actions.drain().handshake(.response).orThrow()
        #expect(
            pair.left.receive(answer, from: pair.rightEndpoint, now: 16 * second)
                == .accepted(pair.rightID))
    }

    /// What two initiations that cross have led to: the responses are under way.
    private struct Crossed {
        var leftResponded: Session
        var rightResponded: Session
        var responseToLeft: [UInt8]
        var responseToRight: [UInt8]
    }

    private func cross(_ pair: Pair) throws -> Crossed {
        #expect(pair.leftKey.publicKey < pair.rightKey.publicKey)
        let fromLeft = try pair.left.initiate(pair.rightID, now: 1).orThrow()
        let fromRight = try pair.right.initiate(pair.leftID, now: 1).orThrow()
        _ = pair.left.receive(fromRight, from: pair.rightEndpoint, now: 2)
        _ = pair.right.receive(fromLeft, from: pair.leftEndpoint, now: 2)
        let fromLeftDevice = pair.left.actions.drain()
        let fromRightDevice = pair.right.actions.drain()
        return Crossed(
            leftResponded: try fromLeftDevice.installed.orThrow(),
            rightResponded: try fromRightDevice.installed.orThrow(),
            responseToLeft: try fromRightDevice.handshake(.response).orThrow(),
            responseToRight: try fromLeftDevice.handshake(.response).orThrow())
    }

    @Test func eitherCrossedHandshakeIsUsed() throws {
        for isLeftAnswered in [true, false] {
            let pair = try Pair()
            let crossed = try cross(pair)
            let device = isLeftAnswered ? pair.left : pair.right
            let peer = isLeftAnswered ? pair.rightID : pair.leftID
            let response = isLeftAnswered ? crossed.responseToLeft : crossed.responseToRight
            #expect(device.receive(response, from: .test(3), now: 3) == .accepted(peer))
            let session = try device.currentSession(peer).orThrow()
            #expect(session.isInitiator)
            #expect(session.isUsableForSending(now: 3))
            #expect(device.peer(peer)?.pending == nil)
        }
    }

    @Test func initiationOfTheGreaterKeyWins() throws {
        let pair = try Pair()
        let crossed = try cross(pair)
        _ = pair.left.receive(crossed.responseToLeft, from: pair.rightEndpoint, now: 3)
        _ = pair.right.receive(crossed.responseToRight, from: pair.leftEndpoint, now: 3)
        _ = pair.left.actions.drain()
        _ = pair.right.actions.drain()
        // Both send with their own; the lesser end moves when it hears from the other.
        #expect(crossed.rightResponded.confirm())
        pair.right.sessionConfirmed(crossed.rightResponded, now: 4)
        #expect(pair.right.actions.drain().retired.isEmpty)
        #expect(crossed.leftResponded.confirm())
        pair.left.sessionConfirmed(crossed.leftResponded, now: 4)
        #expect(pair.left.actions.drain().names == ["promote"])
        let left = try pair.left.currentSession(pair.rightID).orThrow()
        let right = try pair.right.currentSession(pair.leftID).orThrow()
        #expect(left === crossed.leftResponded)
        #expect(right.localIndex == left.remoteIndex)
        // What is under way with the other session still arrives.
        #expect(!crossed.rightResponded.isRetired)
        #expect(pair.left.peer(pair.rightID)?.former.first?.isRetired == false)
    }

    @Test func sessionInUseIsNotLeftForACrossedOne() throws {
        let pair = try Pair()
        let crossed = try cross(pair)
        // A worker has heard from the peer, and the device not yet of that.
        #expect(crossed.leftResponded.confirm())
        #expect(crossed.rightResponded.confirm())
        #expect(
            pair.left.receive(crossed.responseToLeft, from: pair.rightEndpoint, now: 3)
                == .dropped(.crossedInitiation))
        #expect(
            pair.right.receive(crossed.responseToRight, from: pair.leftEndpoint, now: 3)
                == .dropped(.crossedInitiation))
        pair.left.sessionConfirmed(crossed.leftResponded, now: 4)
        #expect(pair.left.currentSession(pair.rightID) === crossed.leftResponded)
        #expect(pair.left.peer(pair.rightID)?.pending == nil)
    }

    @Test func initiationSentAfterTheAnswerIsNoCrossing() throws {
        for (sentAt, isCrossing) in [(second, true), (second + 1, false)] {
            let pair = try Pair()
            let fromRight = try pair.right.initiate(pair.leftID, now: second).orThrow()
            _ = pair.left.receive(fromRight, from: pair.rightEndpoint, now: second)
            let answered = try pair.left.actions.drain().installed.orThrow()
            let peer = try pair.left.peer(pair.rightID).orThrow()
            pair.left.sendInitiation(peer, now: sentAt, wallClock: .test(sentAt))
            let fromLeft = try pair.left.actions.drain().handshake(.initiation).orThrow()
            _ = pair.right.receive(fromLeft, from: pair.leftEndpoint, now: sentAt)
            let response = try pair.right.actions.drain().handshake(.response).orThrow()
            _ = pair.left.receive(response, from: pair.rightEndpoint, now: sentAt)
            let own = try pair.left.currentSession(pair.rightID).orThrow()
            #expect(own.isInitiator)
            #expect(answered.confirm())
            pair.left.sessionConfirmed(answered, now: sentAt)
            let current = pair.left.currentSession(pair.rightID)
            #expect(current === (isCrossing ? answered : own))
        }
    }

    @Test func workersArePutBackInLine() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        let replaced = try pair.right.actions.drain().installed.orThrow()
        // A worker confirms it, and before the device hears of that another takes its place.
        #expect(replaced.confirm())
        pair.left.advance(now: 7 * second, wallClock: .test(7 * second))
        let retry = try pair.left.actions.drain().handshake(.initiation).orThrow()
        _ = pair.right.receive(retry, from: pair.leftEndpoint, now: 7 * second)
        let next = try pair.right.actions.drain().installed.orThrow()
        pair.right.sessionConfirmed(replaced, now: 7 * second)
        #expect(pair.right.actions.drain().names == ["stopSending"])
        #expect(next.confirm())
        pair.right.sessionConfirmed(next, now: 7 * second)
        _ = pair.right.actions.drain()
        pair.right.sessionConfirmed(replaced, now: 7 * second)
        if case .promote(let session)? = pair.right.actions.popFirst() {
            #expect(session === next)
        } else {
            Issue.record("the worker goes on with a session that is gone")
        }
    }

    @Test func formerSessionsStayAsLongAsTheyReceive() throws {
        let pair = try Pair()
        let first = try pair.handshake(now: 1)
        _ = pair.left.actions.drain()
        _ = pair.right.actions.drain()
        let renewed = try pair.handshake(now: 120 * second)
        #expect(pair.right.actions.drain().retired.isEmpty)
        #expect(!first.left.isRetired)
        #expect(!first.right.isRetired)
        _ = try pair.handshake(now: 180 * second + 1)
        #expect(first.left.isRetired)
        #expect(first.right.isRetired)
        #expect(!renewed.left.isRetired)
        // Sessions and nothing else hold indices.
        #expect(pair.left.indices.count == 2)
        #expect(pair.right.indices.count == 2)
    }

    @Test func formerSessionsAreFew() throws {
        let pair = try Pair()
        let limit = ImplementationLimits.formerSessionCountMax
        let sessions = try (0...limit + 2).map {
            try pair.handshake(now: UInt64($0 * 10 + 1) * second)
        }
        for (number, session) in sessions.enumerated() {
            #expect(session.left.isRetired == (number < 2), "\(number)")
            #expect(session.right.isRetired == (number < 2), "\(number)")
        }
        #expect(pair.left.indices.count == limit + 1)
    }

    @Test func endpointIsLearntFromHandshakes() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: 1).orThrow()
        _ = pair.right.receive(initiation, from: .test(77), now: 1)
        #expect(pair.right.endpoint(pair.leftID) == .test(77))
        let actions = pair.right.actions.drain()
        #expect(actions.names.first == "endpointChanged")
        let response = try actions.handshake(.response).orThrow()
        if case .sendHandshake(_, let target, _) = actions.last {
            #expect(target == .test(77))
        } else {
            Issue.record("the response does not come last")
        }
        _ = pair.left.receive(response, from: .test(88), now: 1)
        #expect(pair.left.endpoint(pair.rightID) == .test(88))
    }

    @Test func dataPathReportsRoamingOnce() throws {
        let pair = try Pair()
        pair.left.endpointChanged(pair.rightID, .test(5))
        pair.left.endpointChanged(pair.rightID, .test(5))
        #expect(pair.left.actions.drain().names == ["endpointChanged"])
    }

    @Test(arguments: [1, 2, 3, 7, 255, 256])
    func indicesSelectTheHomeWorker(_ workerCount: Int) throws {
        let device = WireGuardDevice(workerCount: workerCount, random: .seeded(9))
        device.setPrivateKey(.seeded(1), now: 0)
        var seen: Set<UInt32> = []
        for number in 0..<8 as Range<UInt8> {
            let id = try device.addPeer(PrivateKey.seeded(100 + number * 8).publicKey, now: 0)
                .orThrow()
            let peer = try device.peer(id).orThrow()
            for _ in 0..<200 {
                let index = device.makeIndex(of: peer)
                #expect(Int(index & 0xff) % workerCount == Int(id) % workerCount)
                #expect(seen.insert(index).inserted)
            }
        }
    }

    @Test(arguments: [1, 2, 3, 128, 256])
    func indicesSelectTheLaneOfTheDevice(_ laneCount: Int) throws {
        let indices = LocalIndices()
        var seen: Set<UInt32> = []
        for number: TunnelID in 0..<4 {
            let lane = Int(number) % laneCount
            let device = WireGuardDevice(
                tunnel: number,
                placement: ReceivePlacement(workerCount: 3, laneCount: laneCount, lane: lane),
                indices: indices, random: .seeded(7))
            device.setPrivateKey(.seeded(1), now: 0)
            let id = try device.addPeer(PrivateKey.seeded(90).publicKey, now: 0).orThrow()
            let peer = try device.peer(id).orThrow()
            for _ in 0..<200 {
                let index = device.makeIndex(of: peer)
                #expect(Int(index & 0xff) % 3 == device.homeWorker(id))
                #expect(Int(index >> 8 & 0xff) % laneCount == lane)
                // The same seed draws the same words: an index is given out once all the same.
                #expect(seen.insert(index).inserted)
                #expect(indices.tunnel(of: index) == number)
                #expect(indices.peer(of: index, in: number) == id)
                #expect(indices.peer(of: index, in: number + 1) == nil)
            }
        }
    }

    @Test func changedPrivateKeyEndsEverything() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: 1)
        _ = pair.left.actions.drain()
        pair.left.setPrivateKey(.seeded(99), now: 2)
        #expect(pair.left.actions.drain().names == ["stopSending", "retire"])
        #expect(session.isRetired)
        #expect(pair.left.indices.count == 0)
        // The other end does not know the new key.
        let initiation = try pair.left.initiate(pair.rightID, now: 3).orThrow()
        #expect(
            pair.right.receive(initiation, from: pair.leftEndpoint, now: 3)
                == .dropped(.unknownPeer))
    }

    @Test func samePrivateKeyChangesNothing() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: 1)
        _ = pair.left.actions.drain()
        pair.left.setPrivateKey(.seeded(11), now: 2)
        #expect(pair.left.actions.isEmpty)
        #expect(!session.isRetired)
    }

    @Test func ownPublicKeyIsNoPeer() throws {
        let pair = try Pair()
        #expect(pair.left.addPeer(pair.leftKey.publicKey, now: 0) == nil)
        pair.left.setPrivateKey(pair.rightKey, now: 0)
        #expect(pair.left.peerID(pair.rightKey.publicKey) == nil)
        #expect(pair.left.peerCount == 0)
    }

    @Test func peersCanBeRemovedAndAddedAgain() throws {
        let pair = try Pair()
        let (session, _) = try pair.handshake(now: 1)
        _ = pair.left.actions.drain()
        pair.left.removePeer(pair.rightID)
        #expect(pair.left.actions.drain().names == ["stopSending", "retire", "discardStaged"])
        #expect(session.isRetired)
        #expect(pair.left.nextDeadline == nil)
        pair.left.removePeer(pair.rightID)
        #expect(pair.left.actions.isEmpty)
        let again = try pair.left.addPeer(pair.rightKey.publicKey, now: 2).orThrow()
        // Reports about the old peer that are still under way must find nobody.
        #expect(again != pair.rightID)
        pair.left.endpointChanged(pair.rightID, .test(3))
        pair.left.noteActivity(pair.rightID, now: 3)
        #expect(pair.left.actions.isEmpty)
        pair.left.setEndpoint(again, pair.rightEndpoint, now: 3)
        #expect(pair.left.initiate(again, now: 4) != nil)
    }

    @Test func tenThousandPeersComeAndGo() throws {
        let device = WireGuardDevice(workerCount: 4, random: .seeded(3))
        var generator = SeededGenerator(seed: 5)
        var keys: [PublicKey] = []
        for _ in 0..<10_000 {
            let bytes = (0..<32).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let key = try PublicKey(bytes: bytes).orThrow()
            let id = try device.addPeer(key, now: 0).orThrow()
            device.setEndpoint(id, .test(1), now: 0)
            device.setPersistentKeepalive(id, seconds: 25, now: 0)
            keys.append(key)
        }
        for key in keys { device.removePeer(try device.peerID(key).orThrow()) }
        #expect(device.peerCount == 0)
        #expect(device.nextDeadline == nil)
        for key in keys { _ = try device.addPeer(key, now: 0).orThrow() }
        #expect(device.peers.count <= 10_000 + ImplementationLimits.restingPeerIDCount + 1)
    }

    @Test func timestampsGrowEvenIfTheWallClockGoesBack() throws {
        let pair = try Pair()
        for step in 0..<5 as Range<UInt64> {
            let now = (1 + step * 6) * second
            let activity = try pair.left.activity(pair.rightID).orThrow()
            _ = activity.requestHandshake()
            pair.left.noteActivity(pair.rightID, now: now)
            let wallClock = WallClock(
                seconds: 1_750_000_000 - Int64(step) * 3_600, nanoseconds: 0)
            pair.left.advance(now: now, wallClock: wallClock)
            let initiation = try pair.left.actions.drain().handshake(.initiation).orThrow()
            #expect(
                pair.right.receive(initiation, from: pair.leftEndpoint, now: now)
                    == .accepted(pair.leftID))
        }
    }
}
