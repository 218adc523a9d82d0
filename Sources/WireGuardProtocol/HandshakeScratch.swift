import PacketFormats
import PacketMemory

/// Where handshake messages are written and their fields decrypted; one device's own.
final class HandshakeScratch {
    private let arena = ByteArena(count: 256)

    /// Room for a message.
    var message: ByteRegion {
        arena.whole.prefix(ImplementationLimits.handshakeMessageByteMax)
    }
    /// Room for the plaintext of a field.
    var plaintext: ByteRegion { arena.whole.region(at: 192, count: 32) }
    /// No bytes at all.
    var empty: ByteRegion { arena.whole.prefix(0) }
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
