import Cryptography
import PacketFormats
import PacketMemory

/// The sender's side of the cookies: what one peer handed to us, and what it answered.
///
/// Source: WireGuard paper, sections 5.4.4 and 5.4.7.
struct CookieState {
    private var cookie: MAC16?
    /// Monotonic nanoseconds.
    private var receivedAt: UInt64 = 0
    /// `mac1` of the last message sent: a cookie reply must name it. Used up by one valid reply.
    private var lastMAC1: MAC16?

    enum ReplyOutcome {
        case accepted
        case notAsked
        case invalid
    }

    /// Fills in the last two fields of a message to the owner of `publicKey`.
    mutating func writeMACs(of message: ByteRegion, to publicKey: PublicKey, now: UInt64) {
        let mac1 = MessageMAC.mac1(of: message, key: MessageMAC.mac1Key(of: publicKey))
        mac1.write(to: MessageMAC.mac1Field(message))
        lastMAC1 = mac1
        let field = MessageMAC.mac2Field(message)
        guard let cookie, isFresh(now) else {
            field.fill(with: 0)
            return
        }
        // The field lends its bytes to the key before it takes the MAC.
        cookie.write(to: field)
        let mac2 = BLAKE2s.mac(key: field, MessageMAC.mac2Input(message))
        mac2.write(to: field)
    }

    /// Takes the cookie out of a reply.
    ///
    /// - Parameter scratch: 16 bytes.
    mutating func accept(
        _ reply: ByteRegion, from publicKey: PublicKey, now: UInt64, scratch: ByteRegion
    ) -> ReplyOutcome {
        typealias Layout = WireGuardMessage.CookieReply
        guard let lastMAC1 else { return .notAsked }
        var associated = Digest32()
        let isAuthentic = associated.withMutableBytes { associated in
            lastMAC1.write(to: associated)
            return XChaCha20Poly1305.open(
                key: Secret32(MessageMAC.cookieKey(of: publicKey)),
                nonce: reply.region(at: Layout.nonceOffset, count: XChaCha20Poly1305.nonceCount),
                ciphertext: reply.region(from: Layout.encryptedCookieOffset),
                associated: associated.prefix(MAC16.count), into: scratch)
        }
        guard isAuthentic else { return .invalid }
        cookie = MAC16(copying: scratch)
        receivedAt = now
        self.lastMAC1 = nil
        return .accepted
    }

    /// Whether the cookie will not have expired by the time a message arrives.
    private func isFresh(_ now: UInt64) -> Bool {
        let life = ProtocolConstants.cookieSecretTime - ProtocolConstants.cookieLatency
        return MonotonicTime.elapsed(from: receivedAt, to: now) < life
    }
}
