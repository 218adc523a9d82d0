import Cryptography
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

/// Handshakes and sessions of profile `branchline`, as they ought to go.
struct BranchlineHandshakeTests {
    static let profiles = TunnelProfile.hybrids

    @Test(arguments: TunnelProfile.allCases)
    func messagesHaveTheirTypesAndSizes(_ profile: TunnelProfile) throws {
        let isHybrid = profile.family == .branchline
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        #expect(initiation.count == (isHybrid ? 1_348 : 148))
        #expect(initiation.prefix(4) == [1, isHybrid ? 1 : 0, 0, 0])
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        let answers = pair.right.actions.drain()
        #expect(answers.names == ["install(receivingOnly)", "response"])
        let response = try answers.handshake(.response).orThrow()
        #expect(response.count == (isHybrid ? 1_196 : 92))
        #expect(response.prefix(4) == [2, isHybrid ? 1 : 0, 0, 0])
        _ = pair.left.receive(response, from: pair.rightEndpoint, now: second)
        let session = try pair.left.actions.drain().installed.orThrow()
        #expect(session.profile == profile)
        let data = session.sealed([0x45], counter: 0)
        #expect(data.prefix(4) == [4, isHybrid ? 1 : 0, 0, 0])
        #expect(data.count == 33)
    }

    @Test(arguments: TunnelProfile.allCases)
    func bothEndsCanReadEachOther(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let (left, right) = try pair.handshake(now: second)
        for (sender, receiver) in [(left, right), (right, left)] {
            for (counter, size) in [(0, 0), (1, 16), (2, 1_420), (70_000, 9_000)]
                as [(UInt64, Int)]
            {
                let packet = [UInt8](repeating: 0x45, count: size)
                let message = sender.sealed(packet, counter: counter)
                #expect(message.count == size + 32)
                #expect(receiver.opened(message) == packet)
                #expect(sender.opened(message) == nil)
                #expect(receiver.acceptCounter(counter))
                #expect(!receiver.acceptCounter(counter))
            }
        }
    }

    /// The library draws the encapsulation, not the device's own source.
    @Test(arguments: profiles) func keysDifferFromHandshakeToHandshake(
        _ profile: TunnelProfile
    ) throws {
        let sessions = try (0..<2).map { _ in try Pair(profile).handshake(now: second).left }
        let areEqual = sessions[0].sendKey.isEqual(to: sessions[1].sendKey)
        #expect(!areEqual)
    }

    @Test(arguments: profiles) func presharedKeysMustAgree(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        pair.right.setPresharedKey(pair.leftID, PresharedKey.generate())
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        #expect(
            pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
                == .accepted(pair.leftID))
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        #expect(
            pair.left.receive(response, from: pair.rightEndpoint, now: second)
                == .dropped(.handshakeAuthenticationFailed))
        #expect(pair.left.actions.isEmpty)
    }

    @Test(arguments: profiles) func sessionsAreRenewed(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let first = try pair.handshake(now: second)
        _ = pair.left.actions.drain()
        _ = pair.right.actions.drain()
        #expect(!first.left.needsRekeyAfterSending(now: 120 * second))
        #expect(first.left.needsRekeyAfterSending(now: 121 * second))
        #expect(!first.right.needsRekeyAfterSending(now: 121 * second))
        let next = try pair.handshake(now: 122 * second)
        #expect(pair.left.currentSession(pair.rightID) === next.left)
        #expect(pair.right.currentSession(pair.leftID) === next.right)
        #expect(first.right.isUsableForReceiving(now: 122 * second))
        #expect(pair.left.indices.count == 2 && pair.right.indices.count == 2)
    }

    @Test(arguments: profiles) func ownKeysAndPeersKeysCanChange(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        _ = try pair.handshake(now: second)
        let key = PrivateKey.seeded(77)
        try pair.left.rotatePrivateKey(key, now: 10 * second)
        try pair.right.replacePublicKey(of: pair.leftID, with: key.publicKey, now: 10 * second)
        _ = pair.left.actions.drain()
        _ = try pair.handshake(now: 20 * second)
    }

    // MARK: Cookies

    @Test(arguments: profiles) func retryWithTheCookieSucceedsUnderLoad(
        _ profile: TunnelProfile
    ) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        #expect(
            pair.right.receive(
                initiation, from: pair.leftEndpoint, now: second, isUnderLoad: true)
                == .dropped(.invalidMAC2UnderLoad))
        let reply = try pair.right.actions.drain().handshake(.cookieReply).orThrow()
        #expect(reply.count == 64 && reply.prefix(4) == [3, 1, 0, 0])
        var stock = reply
        stock[1] = 0
        #expect(
            pair.left.receive(stock, from: pair.rightEndpoint, now: second)
                == .dropped(.cookieReplyWithoutRequest))
        #expect(
            pair.left.receive(reply, from: pair.rightEndpoint, now: second)
                == .accepted(pair.rightID))
        pair.left.advance(now: 7 * second, wallClock: .test(7 * second))
        let again = try pair.left.actions.drain().handshake(.initiation).orThrow()
        #expect(again.suffix(16) != [UInt8](repeating: 0, count: 16)[...])
        for other in [Endpoint.test(3), .test(1, port: 51821)] {
            #expect(
                pair.right.receive(again, from: other, now: 7 * second, isUnderLoad: true)
                    == .dropped(.invalidMAC2UnderLoad))
        }
        _ = pair.right.actions.drain()
        #expect(
            pair.right.receive(again, from: pair.leftEndpoint, now: 7 * second, isUnderLoad: true)
                == .accepted(pair.leftID))
    }

    @Test(arguments: profiles) func responsesAreChallengedToo(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        #expect(
            pair.left.receive(response, from: pair.rightEndpoint, now: second, isUnderLoad: true)
                == .dropped(.invalidMAC2UnderLoad))
        let reply = try pair.left.actions.drain().handshake(.cookieReply).orThrow()
        #expect(
            pair.right.receive(reply, from: pair.leftEndpoint, now: second)
                == .accepted(pair.leftID))
    }

    // MARK: Crossing, faults

    @Test(arguments: Seeds.count(12), profiles)
    func crossedHandshakesAgree(_ seed: UInt64, _ profile: TunnelProfile) throws {
        let crossing = Crossing(seed: seed, profile: profile)
        crossing.establish()
        crossing.now += 130 * second
        crossing.beginBoth()
        crossing.shuffle(dataPercent: 30, keepsOrder: true)
        crossing.expectNothingLost()
        try crossing.expectAgreement()
        let before = crossing.initiationCount
        crossing.exchange(until: crossing.lastInitiationAt + 123 * second)
        #expect(crossing.initiationCount == before + 1)
        try crossing.expectAgreement()
        crossing.expectNothingLost()
    }

    @Test(arguments: Seeds.count(4), profiles)
    func dataFlowsOverAFaultyNetwork(_ seed: UInt64, _ profile: TunnelProfile) {
        let network = SimulatedNetwork(seed: seed, profile: profile)
        network.faults = NetworkFaults(
            lossPercent: 10, duplicationPercent: 5, delayPercent: 2,
            latency: 20 * millisecond...400 * millisecond)
        var number: UInt64 = 1
        for _ in 0..<400 {
            network.sendFromBranch(number)
            network.sendFromHeadquarters(number + 1)
            number += 2
            network.run(second)
        }
        #expect(network.branch.delivered.count > 250)
        #expect(network.headquarters.delivered.count > 250)
        #expect(network.allViolations == [])
        #expect(network.branch.drops[.wrongProfile] == nil)
    }

    // MARK: Keys' limits

    @Test(arguments: [
        (TunnelProfile.branchlineAES, 1 << 26, 1 << 27),
        (.branchlineChaCha, 1 << 60, UInt64.max - (1 << 13)),
        (.wireguard, 1 << 60, UInt64.max - (1 << 13)),
    ] as [(TunnelProfile, UInt64, UInt64)])
    func keysAreUsedUpToTheirLimit(
        _ profile: TunnelProfile, _ rekeyAfter: UInt64, _ limit: UInt64
    ) throws {
        let pair = try Pair(profile)
        let (left, right) = try pair.handshake(now: second)
        for session in [left, right] {
            session.skipCounters(to: rekeyAfter)
            #expect(!session.needsRekeyAfterSending(now: second))
            session.skipCounters(to: rekeyAfter + 1)
            #expect(session.needsRekeyAfterSending(now: second))
        }
        left.skipCounters(to: limit - 3)
        #expect(left.reserveCounters(2) == limit - 3)
        #expect(left.isUsableForSending(now: second))
        #expect(left.reserveCounters(2) == nil)
        #expect(!left.isUsableForSending(now: second))
        #expect(left.reserveCounters(1) == nil)
        #expect(left.sentCount == limit)

        #expect(right.opened(left.sealed([1], counter: limit - 1)) == [1])
        #expect(right.opened(left.sealed([1], counter: limit)) == nil)
        #expect(right.acceptCounter(limit - 1))
        #expect(!right.acceptCounter(limit))
    }

    /// A peer that ignores the limit is not heard, and its counter is not taken for a great one.
    @Test func counterBeyondTheLimitDoesNotMoveTheWindow() throws {
        let pair = try Pair(.branchlineAES)
        let (_, right) = try pair.handshake(now: second)
        #expect(!right.acceptCounter(1 << 27))
        #expect(!right.acceptCounter(.max))
        #expect(right.acceptCounter(0))
    }

    @Test func responderAsksForNewKeysByItsOwnCounter() throws {
        let pair = try Pair(.branchlineAES)
        let (_, right) = try pair.handshake(now: second)
        _ = pair.right.actions.drain()
        right.skipCounters(to: ProtocolConstants.rekeyAfterMessagesAES + 1)
        #expect(right.needsRekeyAfterSending(now: 10 * second))
        #expect(right.activity.requestHandshake())
        pair.right.noteActivity(pair.leftID, now: 10 * second)
        pair.right.advance(now: 10 * second, wallClock: .test(10 * second))
        #expect(pair.right.actions.drain().handshake(.initiation)?.count == 1_348)
    }
}
