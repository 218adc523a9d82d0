import Cryptography
import PacketFormats
import PacketMemory
import Testing

@testable import WireGuardProtocol

struct CookieTests {
    /// An initiation under load, and the cookie reply to it.
    private func challenged(_ pair: Pair) throws -> (initiation: [UInt8], reply: [UInt8]) {
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        #expect(
            pair.right.receive(
                initiation, from: pair.leftEndpoint, now: second, isUnderLoad: true)
                == .dropped(.invalidMAC2UnderLoad))
        let actions = pair.right.actions.drain()
        #expect(actions.names == ["cookieReply"])
        return (initiation, try actions.handshake(.cookieReply).orThrow())
    }

    private func retry(_ pair: Pair, at now: UInt64) throws -> [UInt8] {
        pair.left.advance(now: now, wallClock: .test(now))
        return try pair.left.actions.drain().handshake(.initiation).orThrow()
    }

    @Test func retryWithTheCookieSucceedsUnderLoad() throws {
        let pair = try Pair()
        let (_, reply) = try challenged(pair)
        #expect(reply.count == 64)
        #expect(
            pair.left.receive(reply, from: .test(66), now: second) == .accepted(pair.rightID))
        // A cookie reply is not authenticated as the peer's: it neither sends nor moves anything.
        #expect(pair.left.actions.isEmpty)
        #expect(pair.left.endpoint(pair.rightID) == pair.rightEndpoint)
        let again = try retry(pair, at: 7 * second)
        #expect(again.suffix(16) != [UInt8](repeating: 0, count: 16)[...])
        #expect(
            pair.right.receive(again, from: pair.leftEndpoint, now: 7 * second, isUnderLoad: true)
                == .accepted(pair.leftID))
    }

    @Test func withoutLoadNobodyAsksForTheCookie() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        #expect(initiation.suffix(16) == [UInt8](repeating: 0, count: 16)[...])
        #expect(
            pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
                == .accepted(pair.leftID))
    }

    @Test func cookieBelongsToAddressAndPort() throws {
        let pair = try Pair()
        let (_, reply) = try challenged(pair)
        _ = pair.left.receive(reply, from: pair.rightEndpoint, now: second)
        let again = try retry(pair, at: 7 * second)
        for other in [Endpoint.test(3), .test(1, port: 51821)] {
            #expect(
                pair.right.receive(again, from: other, now: 7 * second, isUnderLoad: true)
                    == .dropped(.invalidMAC2UnderLoad))
        }
    }

    @Test func cookieIsUsedForLessThanTwoMinutes() throws {
        let pair = try Pair()
        let (_, reply) = try challenged(pair)
        _ = pair.left.receive(reply, from: pair.rightEndpoint, now: second)
        let peer = try pair.left.peer(pair.rightID).orThrow()
        let message = ByteArena(count: 148)
        let life = ProtocolConstants.cookieSecretTime - ProtocolConstants.cookieLatency
        for (age, isUsed) in [(life - 1, true), (life, false)] {
            message.whole.fill(with: 7)
            peer.cookie.writeMACs(of: message.whole, to: peer.publicKey, now: second + age)
            let isZero = message.whole.bytes.suffix(16).allSatisfy { $0 == 0 }
            #expect(isZero != isUsed)
        }
    }

    @Test func responderForgetsTheCookieAfterTwoMinutes() throws {
        let pair = try Pair()
        let (_, reply) = try challenged(pair)
        // The sender believes that it is fresh; the secret it came from is not.
        _ = pair.left.receive(reply, from: pair.rightEndpoint, now: 121 * second)
        let again = try retry(pair, at: 7 * second)
        #expect(
            pair.right.receive(
                again, from: pair.leftEndpoint, now: 121 * second - 1, isUnderLoad: true)
                == .accepted(pair.leftID))
        #expect(
            pair.right.receive(
                again, from: pair.leftEndpoint, now: 121 * second, isUnderLoad: true)
                == .dropped(.invalidMAC2UnderLoad))
    }

    @Test func replyIsAcceptedOnce() throws {
        let pair = try Pair()
        let (_, reply) = try challenged(pair)
        #expect(
            pair.left.receive(reply, from: pair.rightEndpoint, now: second)
                == .accepted(pair.rightID))
        #expect(
            pair.left.receive(reply, from: pair.rightEndpoint, now: second)
                == .dropped(.cookieReplyWithoutRequest))
    }

    @Test(arguments: [8, 31, 32, 47, 48, 63])
    func alteredReplyIsRefusedAndTheTrueOneStillWorks(_ offset: Int) throws {
        let pair = try Pair()
        let (_, reply) = try challenged(pair)
        var altered = reply
        altered[offset] ^= 1
        #expect(
            pair.left.receive(altered, from: pair.rightEndpoint, now: second)
                == .dropped(.cookieReplyInvalid))
        #expect(
            pair.left.receive(reply, from: pair.rightEndpoint, now: second)
                == .accepted(pair.rightID))
    }

    @Test func responsesAreChallengedToo() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: pair.leftEndpoint, now: second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        #expect(
            pair.left.receive(
                response, from: pair.rightEndpoint, now: second, isUnderLoad: true)
                == .dropped(.invalidMAC2UnderLoad))
        let reply = try pair.left.actions.drain().handshake(.cookieReply).orThrow()
        #expect(
            pair.right.receive(reply, from: pair.leftEndpoint, now: second)
                == .accepted(pair.leftID))
    }

    @Test func sourceWithACookieIsStillLimited() throws {
        let pair = try Pair()
        let (_, reply) = try challenged(pair)
        _ = pair.left.receive(reply, from: pair.rightEndpoint, now: second)
        let again = try retry(pair, at: 7 * second)
        var outcomes: [ReceiveOutcome] = []
        for _ in 0..<7 {
            outcomes.append(
                pair.right.receive(
                    again, from: pair.leftEndpoint, now: 7 * second, isUnderLoad: true))
        }
        #expect(outcomes.first == .accepted(pair.leftID))
        #expect(outcomes[1...4].allSatisfy { $0 == .dropped(.replayedTimestamp) })
        #expect(outcomes[5...].allSatisfy { $0 == .dropped(.cookieRateLimited) })
    }
}
