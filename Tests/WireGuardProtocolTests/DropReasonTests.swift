import Cryptography
import PacketFormats
import PacketMemory
import Testing

@testable import WireGuardProtocol

/// Each reason for which the control path drops a datagram, by the datagram that it is for.
///
/// Those that only the data path finds are the last ones of ``DropReason``, from `sessionExpired`.
struct DropReasonTests {
    @Test func namesAreSnakeCaseAndDistinct() {
        let names = DropReason.allCases.map(\.name)
        #expect(Set(names).count == names.count)
        for name in names {
            let allowed = Set("abcdefghijklmnopqrstuvwxyz0123456789_")
            #expect(allowed.isSuperset(of: name))
        }
        #expect(DropReason.allCases.map(\.rawValue) == Array(0..<names.count))
    }

    private func expect(
        _ reason: DropReason, _ device: WireGuardDevice, _ bytes: [UInt8], now: UInt64 = second,
        at location: SourceLocation = #_sourceLocation
    ) {
        let outcome = device.receive(bytes, from: .test(9), now: now)
        #expect(outcome == .dropped(reason), sourceLocation: location)
        #expect(device.actions.isEmpty, sourceLocation: location)
    }

    @Test(
        arguments: [0, 5, 255, 0x0100, 0x0105, 0x0201, 0x0001_0001, 0x0001_0101, 0x0100_0001]
            as [UInt32])
    func unknownTypes(_ type: UInt32) throws {
        let pair = try Pair()
        let bytes = withBytes(of: type) + [UInt8](repeating: 0, count: 144)
        expect(.unknownType, pair.left, bytes)
    }

    @Test(arguments: [32, 148]) func transportDataIsMisdirected(_ count: Int) throws {
        let pair = try Pair()
        let bytes = withBytes(of: 4) + [UInt8](repeating: 0, count: count - 4)
        expect(.misdirectedData, pair.left, bytes)
        #expect(DropReason.misdirectedData.name == "misdirected_data")
    }

    private func withBytes(of word: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) }
    }

    @Test(arguments: [
        (1, 148), (2, 92), (3, 64), (0x0101, 1_348), (0x0102, 1_196), (0x0103, 64),
    ])
    func wrongLengths(_ type: UInt32, _ count: Int) throws {
        let pair = try Pair()
        for wrong in [4, count - 1, count + 1, 148, 92, 1_348, 1500] where wrong != count {
            expect(
                .wrongLength, pair.left,
                withBytes(of: type) + [UInt8](repeating: 0, count: wrong - 4))
        }
        for short in 0...3 { expect(.wrongLength, pair.left, [UInt8](repeating: 1, count: short)) }
    }

    @Test func withoutPrivateKeyNothingIsAnswered() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        pair.right.setPrivateKey(nil, now: second)
        _ = pair.right.actions.drain()
        expect(.noPrivateKey, pair.right, initiation)
    }

    /// What anybody can send is told from what only those who know our public key can.
    @Test func reasonsTellWhetherTheSenderKnowsTheKey() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        for kind in [0, 1, 2, 3, 4, 5, 0x101, 0x102, 0x103, 0x104] as [UInt32] {
            for count in [20, 32, 64, 92, 148, 1_196, 1_348] {
                var bytes = withBytes(of: kind) + [UInt8](repeating: 7, count: count - 4)
                for index in [bytes[4..<8], initiation[4..<8]] {
                    bytes.replaceSubrange(4..<8, with: index)
                    let outcome = pair.left.receive(bytes, from: .test(9), now: second)
                    guard case .dropped(let reason) = outcome else {
                        Issue.record("accepted")
                        continue
                    }
                    #expect(!reason.isAfterMAC1, "\(reason)")
                }
            }
        }
        for (kind, count) in [(1, 148), (2, 92), (0x101, 1_348), (0x102, 1_196)]
            as [(UInt32, Int)]
        {
            let bytes = withBytes(of: kind) + [UInt8](repeating: 7, count: count - 4)
            let outcome = pair.left.receive(
                sealedAnew(bytes, pair.leftKey), from: .test(9), now: second)
            guard case .dropped(let reason) = outcome else { throw Unexpected() }
            #expect(reason.isAfterMAC1, "\(reason)")
        }
    }

    private struct Unexpected: Error {}

    @Test func everyByteOfAnInitiationIsAuthenticated() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        for offset in 4..<132 {
            var altered = initiation
            altered[offset] ^= 0x80
            expect(.invalidMAC1, pair.right, altered)
        }
        for offset in [8, 39, 40, 71, 87, 88, 115] {
            var altered = initiation
            altered[offset] ^= 1
            expect(.handshakeAuthenticationFailed, pair.right, sealedAnew(altered, pair.rightKey))
        }
        #expect(
            pair.right.receive(initiation, from: .test(9), now: second) == .accepted(pair.leftID))
    }

    @Test func lowOrderEphemeralIsRefused() throws {
        let pair = try Pair()
        var initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        initiation.replaceSubrange(8..<40, with: [UInt8](repeating: 0, count: 32))
        expect(.lowOrderPublicKey, pair.right, sealedAnew(initiation, pair.rightKey))
    }

    @Test func strangersAreUnknown() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        pair.right.removePeer(pair.leftID)
        _ = pair.right.actions.drain()
        expect(.unknownPeer, pair.right, initiation)
    }

    @Test func peerWithALowOrderKeyIsNeverGreeted() throws {
        let device = WireGuardDevice(workerCount: 1, random: .seeded(1))
        let zero = try PublicKey(bytes: [UInt8](repeating: 0, count: 32)).orThrow()
        device.setPrivateKey(.seeded(1), now: 0)
        let peer = try device.addPeer(zero, now: 0).orThrow()
        device.setEndpoint(peer, .test(1), now: 0)
        #expect(device.initiate(peer, now: 1) == nil)
        #expect(device.nextDeadline == device.peer(peer)?.deadlines[.zeroKeys])
    }

    @Test func peerWithALowOrderKeyIsNeverAnswered() throws {
        // Such a peer's static-static secret is zero, which anybody can compute.
        let device = WireGuardDevice(workerCount: 1, random: .seeded(1))
        let key = PrivateKey.seeded(1)
        device.setPrivateKey(key, now: 0)
        let zero = try PublicKey(bytes: [UInt8](repeating: 0, count: 32)).orThrow()
        _ = try device.addPeer(zero, now: 0).orThrow()
        let message = ByteArena(count: 148)
        message.whole.fill(with: 0)
        message.whole.storeLittleEndian(UInt32(1), at: 0)
        var state = SymmetricState(.wireGuard)
        let isWritten = ByteArena.withCopy(of: [UInt8](repeating: 0xff, count: 12)) { stamp in
            NoiseIKpsk2.writeInitiation(
                &state, ephemeral: .seeded(7), ownStatic: zero, remoteStatic: key.publicKey,
                staticStatic: Secret32(), payload: stamp, fields: .init(of: message.whole))
        }
        #expect(isWritten)
        expect(.staticKeysIncompatible, device, sealedAnew(message.whole.bytes, key))
    }

    @Test func repeatedInitiationIsAReplay() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: .test(9), now: second)
        _ = pair.right.actions.drain()
        expect(.replayedTimestamp, pair.right, initiation)
        expect(.replayedTimestamp, pair.right, initiation, now: 500 * second)
    }

    @Test(arguments: TunnelProfile.allCases)
    func initiationsOfOnePeerKeepTwentyMillisecondsApart(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let first = try pair.left.initiate(pair.rightID, now: second).orThrow()
        pair.left.advance(now: 7 * second, wallClock: .test(7 * second))
        let next = try pair.left.actions.drain().handshake(.initiation).orThrow()
        let spacing = ImplementationLimits.initiationSpacingNanoseconds
        _ = pair.right.receive(first, from: .test(9), now: second)
        _ = pair.right.actions.drain()
        expect(.initiationFlood, pair.right, next, now: second + spacing)
        #expect(
            pair.right.receive(next, from: .test(9), now: second + spacing + 1)
                == .accepted(pair.leftID))
    }

    @Test func responseMustNameAnInitiation() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: .test(9), now: second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        var other = response
        other[8] ^= 1
        expect(.unknownReceiverIndex, pair.left, sealedAnew(other, pair.leftKey))
        other = response
        other[44] ^= 1
        expect(.handshakeAuthenticationFailed, pair.left, sealedAnew(other, pair.leftKey))
        other = response
        other.replaceSubrange(12..<44, with: [UInt8](repeating: 0, count: 32))
        expect(.lowOrderPublicKey, pair.left, sealedAnew(other, pair.leftKey))
        #expect(
            pair.left.receive(response, from: .test(2), now: second) == .accepted(pair.rightID))
        _ = pair.left.actions.drain()
        // The index now is a session's.
        expect(.responseWithoutInitiation, pair.left, response)
    }

    @Test func responseToAReplacedInitiationIsUnknown() throws {
        let pair = try Pair()
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: .test(9), now: second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        pair.left.advance(now: 7 * second, wallClock: .test(7 * second))
        _ = pair.left.actions.drain()
        expect(.unknownReceiverIndex, pair.left, response, now: 7 * second)
    }

    @Test func cookieReplyMustNameAMessage() throws {
        let pair = try Pair()
        let reply = withBytes(of: 3) + [UInt8](repeating: 9, count: 60)
        expect(.cookieReplyWithoutRequest, pair.left, reply)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        var named = reply
        named.replaceSubrange(4..<8, with: initiation[4..<8])
        expect(.cookieReplyInvalid, pair.left, named)
    }
}
