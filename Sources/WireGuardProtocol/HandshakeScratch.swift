import Cryptography
import PacketFormats
import PacketMemory

/// Where handshake messages are written and their fields decrypted; one device's own.
final class HandshakeScratch {
    private let arena = ByteArena(count: messageCount + fieldCount + 64)

    /// Room for a message.
    var message: ByteRegion {
        arena.whole.prefix(ImplementationLimits.handshakeMessageByteMax)
    }
    /// Room for an encapsulation key, or a ciphertext.
    var encapsulation: ByteRegion {
        arena.whole.region(at: Self.messageCount, count: Self.fieldCount)
    }
    /// Room for the plaintext of another field.
    var plaintext: ByteRegion {
        arena.whole.region(at: Self.messageCount + Self.fieldCount, count: 32)
    }
    /// No bytes at all.
    var empty: ByteRegion { arena.whole.prefix(0) }

    private static let messageCount = ImplementationLimits.handshakeMessageRoom
    private static let fieldCount = KeyEncapsulation.encapsulationKeyCount
}

extension NoiseIKpsk2.InitiationFields {
    /// - Parameter message: 148 bytes.
    init(of message: ByteRegion) {
        typealias Layout = WireGuardMessage.Initiation
        ephemeral = message.region(at: Layout.ephemeralOffset, count: 32)
        encryptedStatic = message.region(at: Layout.encryptedStaticOffset, count: 48)
        encryptedPayload = message.region(
            at: Layout.encryptedTimestampOffset, count: TAI64N.count + 16)
    }
}

extension NoiseIKpsk2.ResponseFields {
    /// - Parameter message: 92 bytes.
    init(of message: ByteRegion) {
        typealias Layout = WireGuardMessage.Response
        ephemeral = message.region(at: Layout.ephemeralOffset, count: 32)
        encryptedPayload = message.region(at: Layout.encryptedNothingOffset, count: 16)
    }
}

extension NoiseIKhfspsk2.InitiationFields {
    /// - Parameter message: 1,348 bytes.
    init(of message: ByteRegion) {
        typealias Layout = WireGuardMessage.HybridInitiation
        ephemeral = message.region(at: Layout.ephemeralOffset, count: 32)
        encryptedEncapsulationKey = message.region(
            at: Layout.encryptedEncapsulationKeyOffset,
            count: KeyEncapsulation.encapsulationKeyCount + 16)
        encryptedStatic = message.region(at: Layout.encryptedStaticOffset, count: 48)
        encryptedPayload = message.region(
            at: Layout.encryptedTimestampOffset, count: TAI64N.count + 16)
    }
}

extension NoiseIKhfspsk2.ResponseFields {
    /// - Parameter message: 1,196 bytes.
    init(of message: ByteRegion) {
        typealias Layout = WireGuardMessage.HybridResponse
        ephemeral = message.region(at: Layout.ephemeralOffset, count: 32)
        encryptedCiphertext = message.region(
            at: Layout.encryptedCiphertextOffset, count: KeyEncapsulation.ciphertextCount + 16)
        encryptedPayload = message.region(at: Layout.encryptedNothingOffset, count: 16)
    }
}
