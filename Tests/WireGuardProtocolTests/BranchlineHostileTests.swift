import Cryptography
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import WireGuardProtocol

/// Hybrid messages that no honest peer sends: each is dropped for its reason, and nothing else
/// happens.
struct BranchlineHostileTests {
    static let profiles = TunnelProfile.hybrids

    private func expect(
        _ reason: DropReason, _ device: WireGuardDevice, _ bytes: [UInt8], now: UInt64 = second,
        _ comment: Comment? = nil, at location: SourceLocation = #_sourceLocation
    ) {
        let outcome = device.receive(bytes, from: .test(9), now: now)
        #expect(outcome == .dropped(reason), comment, sourceLocation: location)
        #expect(device.actions.isEmpty, comment, sourceLocation: location)
    }

    // MARK: Every byte

    @Test(arguments: profiles)
    func everyByteOfAnInitiationIsAuthenticated(_ profile: TunnelProfile) throws {
        typealias Layout = WireGuardMessage.HybridInitiation
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        for offset in 4..<Layout.mac2Offset {
            var altered = initiation
            altered[offset] ^= UInt8(1 << (offset % 8))
            expect(.invalidMAC1, pair.right, altered, "offset \(offset)")
            // The index and mac1 itself are not part of the transcript.
            guard offset >= Layout.ephemeralOffset, offset < Layout.mac1Offset else { continue }
            // X25519 ignores the ephemeral key's highest bit; the transcript does not.
            expect(
                .handshakeAuthenticationFailed, pair.right, sealedAnew(altered, pair.rightKey),
                "offset \(offset)")
        }
        #expect(
            pair.right.receive(initiation, from: .test(9), now: second) == .accepted(pair.leftID))
    }

    @Test(arguments: profiles)
    func everyByteOfAResponseIsAuthenticated(_ profile: TunnelProfile) throws {
        typealias Layout = WireGuardMessage.HybridResponse
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: .test(9), now: second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        for offset in 4..<Layout.mac2Offset {
            var altered = response
            altered[offset] ^= UInt8(1 << (offset % 8))
            expect(.invalidMAC1, pair.left, altered, "offset \(offset)")
            guard offset >= Layout.ephemeralOffset, offset < Layout.mac1Offset else { continue }
            expect(
                .handshakeAuthenticationFailed, pair.left, sealedAnew(altered, pair.leftKey),
                "offset \(offset)")
        }
        #expect(
            pair.left.receive(response, from: .test(2), now: second) == .accepted(pair.rightID))
    }

    @Test(arguments: profiles) func everyOtherLengthIsRefused(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        _ = pair.right.receive(initiation, from: .test(9), now: second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        for (message, device, key) in [
            (initiation, pair.right, pair.rightKey), (response, pair.left, pair.leftKey),
        ] {
            for count in 0..<message.count {
                let cut = Array(message.prefix(count))
                expect(.wrongLength, device, cut)
                if count > 36 { expect(.wrongLength, device, sealedAnew(cut, key)) }
            }
            expect(.wrongLength, device, message + [0])
        }
    }

    @Test(arguments: profiles)
    func everyByteOfTransportDataIsAuthenticated(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let (left, right) = try pair.handshake(now: second)
        let message = left.sealed([UInt8](repeating: 1, count: 64), counter: 5)
        for offset in message.indices where !(4..<8).contains(offset) {
            var altered = message
            altered[offset] ^= 4
            #expect(right.opened(altered) == nil, "offset \(offset)")
        }
        for count in message.indices { #expect(right.opened(Array(message.prefix(count))) == nil) }
        #expect(right.opened(message) != nil)
    }

    @Test(arguments: Seeds.count(2)) func randomBytesChangeNothing(_ seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let pair = try Pair(.branchlineAES)
        _ = try pair.handshake(now: second)
        _ = pair.right.actions.drain()
        for round in 0..<1_000 as Range<UInt64> {
            let sizes = [4, 64, 92, 148, 1_196, 1_348, 1_349]
            let size = sizes.randomElement(using: &generator) ?? 0
            var bytes = generator.bytes(size)
            let type = UInt8.random(in: 0...5, using: &generator)
            bytes.replaceSubrange(0..<4, with: [type, 1, 0, 0])
            if size > 36 { bytes = sealedAnew(bytes, pair.rightKey) }
            let outcome = pair.right.receive(bytes, from: .test(9), now: second + round)
            guard case .dropped = outcome else { throw Accepted() }
        }
        #expect(pair.right.actions.isEmpty)
        #expect(pair.right.endpoint(pair.leftID) == pair.leftEndpoint)
    }

    private struct Accepted: Error {}

    // MARK: Keys

    @Test(arguments: profiles) func lowOrderEphemeralsAreRefused(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        for point in Self.lowOrderPoints {
            var altered = initiation
            altered.replaceSubrange(8..<40, with: point)
            expect(.lowOrderPublicKey, pair.right, sealedAnew(altered, pair.rightKey))
        }
        _ = pair.right.receive(initiation, from: .test(9), now: second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        for point in Self.lowOrderPoints {
            var altered = response
            altered.replaceSubrange(12..<44, with: point)
            expect(.lowOrderPublicKey, pair.left, sealedAnew(altered, pair.leftKey))
        }
        #expect(
            pair.left.receive(response, from: .test(2), now: second) == .accepted(pair.rightID))
    }

    /// Of orders 1, 2, 4 and 8, and one that is not reduced.
    private static let lowOrderPoints: [[UInt8]] = [
        [UInt8](repeating: 0, count: 32),
        [1] + [UInt8](repeating: 0, count: 31),
        bytes(hex: "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes(hex: "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        [0xec] + [UInt8](repeating: 0xff, count: 30) + [0x7f],
        [0xed] + [UInt8](repeating: 0xff, count: 30) + [0x7f],
    ]

    /// A peer with all the right keys and an encapsulation key of its own making.
    private func initiation(
        of pair: Pair, _ profile: TunnelProfile, change: (ByteRegion) -> Void
    ) throws -> [UInt8] {
        typealias Layout = WireGuardMessage.HybridInitiation
        let message = ByteArena(count: Layout.count)
        message.whole.fill(with: 0)
        message.whole.storeLittleEndian(
            WireGuardMessage.typeWord(.initiation, .branchline), at: 0)
        let fields = NoiseIKhfspsk2.InitiationFields(of: message.whole)
        let ephemeral = PrivateKey.seeded(7)
        var state = SymmetricState(profile.noiseStart)
        var shared = Secret32()
        state.mixHash(pair.rightKey.publicKey)
        ephemeral.publicKey.withBytes { fields.ephemeral.copy(from: $0) }
        state.mixHash(fields.ephemeral)
        state.mixChainingKey(fields.ephemeral)
        _ = ephemeral.sharedSecret(with: pair.rightKey.publicKey, into: &shared)
        state.mixKey(shared)
        let key = fields.encryptedEncapsulationKey.prefix(1_184)
        DecapsulationKey(keySeed: Secret32(), rejectionSeed: Secret32())
            .writeEncapsulationKey(to: key)
        change(key)
        state.encryptAndHash(key, into: fields.encryptedEncapsulationKey)
        pair.leftKey.publicKey.withBytes {
            state.encryptAndHash($0, into: fields.encryptedStatic)
        }
        _ = pair.leftKey.sharedSecret(with: pair.rightKey.publicKey, into: &shared)
        state.mixKey(shared)
        ByteArena.withCopy(of: [UInt8](repeating: 0x70, count: 12)) {
            state.encryptAndHash($0, into: fields.encryptedPayload)
        }
        return sealedAnew(message.whole.bytes, pair.rightKey)
    }

    @Test(arguments: profiles)
    func encapsulationKeyMustBeReduced(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let good = try initiation(of: pair, profile) { _ in }
        // Coefficients are 12 bits each; the prime is 3329, 0xd01.
        for (offset, low, high) in [(0, 0x01, 0x0d), (0, 0xff, 0x0f), (1_149, 0x01, 0xfd)]
            as [(Int, UInt8, UInt8)]
        {
            let bad = try initiation(of: pair, profile) { key in
                key[offset] = low
                key[offset + 1] = key[offset + 1] & 0xf0 | high & 0x0f
            }
            expect(.invalidEncapsulationKey, pair.right, bad)
        }
        let all = try initiation(of: pair, profile) { $0.fill(with: 0xff) }
        expect(.invalidEncapsulationKey, pair.right, all)
        // Nothing of the peer changed: the same timestamp is still good.
        #expect(pair.right.receive(good, from: .test(9), now: second) == .accepted(pair.leftID))
    }

    /// Encapsulated to another key: the initiator finds out by the last field.
    @Test(arguments: profiles)
    func responseToAnotherEncapsulationKeyIsRefused(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        let peer = try pair.left.peer(pair.rightID).orThrow()
        let pending = try peer.pending.orThrow()
        _ = pair.right.receive(initiation, from: .test(9), now: second)
        let response = try pair.right.actions.drain().handshake(.response).orThrow()
        let state = SymmetricState(
            chainingKey: pending.chainingKey, hash: pending.hash,
            cipher: profile.handshakeCipher)
        peer.pending = PendingInitiation(
            localIndex: pending.localIndex, ephemeral: pending.ephemeral,
            decapsulationKey: DecapsulationKey(keySeed: .random(), rejectionSeed: .random()),
            sentAt: pending.sentAt, state: state)
        expect(.handshakeAuthenticationFailed, pair.left, response)
        peer.pending = pending
        #expect(
            pair.left.receive(response, from: .test(2), now: second) == .accepted(pair.rightID))
    }

    /// A responder in the middle of both, without the static key.
    @Test(arguments: profiles)
    func nobodyElseCanAnswer(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        let stranger = WireGuardDevice(workerCount: 1, random: .seeded(5))
        stranger.setPrivateKey(.seeded(66), now: 0)
        let id = try stranger.addPeer(pair.leftKey.publicKey, now: 0).orThrow()
        stranger.setProfile(id, profile, now: 0)
        _ = stranger.actions.drain()
        expect(.invalidMAC1, stranger, initiation)
        expect(
            .handshakeAuthenticationFailed, stranger,
            sealedAnew(initiation, PrivateKey.seeded(66)))
    }

    @Test(arguments: profiles) func strangersAreUnknown(_ profile: TunnelProfile) throws {
        let pair = try Pair(profile)
        let initiation = try pair.left.initiate(pair.rightID, now: second).orThrow()
        pair.right.removePeer(pair.leftID)
        _ = pair.right.actions.drain()
        expect(.unknownPeer, pair.right, initiation)
    }
}
