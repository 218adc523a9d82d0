import Cryptography
import PacketFormats
import PacketMemory

/// The responder's side of the cookies: checks both MACs and makes cookie replies.
///
/// A cookie is a MAC of the source's address and port under a secret that changes every two
/// minutes, so that nothing is stored for a source that has not proved to own its address.
///
/// Source: WireGuard paper, section 5.4.7.
struct CookieChecker: ~Copyable {
    private var mac1Key: Digest32
    private var cookieKey: Secret32
    private var secret = Secret32()
    private var secretMadeAt: UInt64?
    private let scratch = ByteArena(count: 64)

    init(_ ownPublicKey: PublicKey) {
        mac1Key = MessageMAC.mac1Key(of: ownPublicKey)
        cookieKey = Secret32(MessageMAC.cookieKey(of: ownPublicKey))
    }

    /// Goes on under another public key. Cookies stay good: they are bound to addresses only.
    mutating func changeOwner(to ownPublicKey: PublicKey) {
        mac1Key = MessageMAC.mac1Key(of: ownPublicKey)
        cookieKey = Secret32(MessageMAC.cookieKey(of: ownPublicKey))
    }

    /// Whether the sender knows our public key.
    func isMAC1Valid(_ message: ByteRegion) -> Bool {
        MessageMAC.mac1(of: message, key: mac1Key)
            == MAC16(copying: MessageMAC.mac1Field(message))
    }

    /// Whether the sender holds the cookie that belongs to its address.
    mutating func isMAC2Valid(
        _ message: ByteRegion, from source: Endpoint, now: UInt64, random: RandomSource
    ) -> Bool {
        let expected = withCookie(of: source, now: now, random: random) { cookie in
            BLAKE2s.mac(key: cookie, MessageMAC.mac2Input(message))
        }
        return expected == MAC16(copying: MessageMAC.mac2Field(message))
    }

    /// Writes the cookie reply to `message`, which came from `source`.
    ///
    /// - Parameter reply: 64 bytes, overwritten.
    mutating func writeReply(
        to message: ByteRegion, from source: Endpoint, now: UInt64, random: RandomSource,
        into reply: ByteRegion
    ) {
        typealias Layout = WireGuardMessage.CookieReply
        reply.storeLittleEndian(
            WireGuardMessage.typeWord(.cookieReply, WireGuardMessage.family(of: message)),
            at: WireGuardMessage.typeOffset)
        // All messages carry their sender's index at the same place.
        let sender = message.littleEndian32(at: WireGuardMessage.Initiation.senderIndexOffset)
        reply.storeLittleEndian(sender, at: Layout.receiverIndexOffset)
        let nonce = reply.region(at: Layout.nonceOffset, count: XChaCha20Poly1305.nonceCount)
        random.fill(nonce)
        let field = reply.region(from: Layout.encryptedCookieOffset)
        withCookie(of: source, now: now, random: random) { cookie in
            field.copy(from: cookie)
        }
        XChaCha20Poly1305.seal(
            key: cookieKey, nonce: nonce, plaintext: field.prefix(MAC16.count),
            associated: MessageMAC.mac1Field(message), into: field)
    }

    private mutating func withCookie<Result>(
        of source: Endpoint, now: UInt64, random: RandomSource, _ body: (ByteRegion) -> Result
    ) -> Result {
        renewSecret(now, random)
        let address = scratch.whole.prefix(18)
        address.storeBigEndian(source.address.high, at: 0)
        address.storeBigEndian(source.address.low, at: 8)
        address.storeBigEndian(source.port, at: 16)
        let cookie = scratch.whole.region(at: 32, count: MAC16.count)
        secret.withBytes { BLAKE2s.mac(key: $0, address) }.write(to: cookie)
        return body(cookie)
    }

    private mutating func renewSecret(_ now: UInt64, _ random: RandomSource) {
        if let madeAt = secretMadeAt,
            MonotonicTime.elapsed(from: madeAt, to: now) < ProtocolConstants.cookieSecretTime
        {
            return
        }
        secret.withMutableBytes { random.fill($0) }
        secretMadeAt = now
    }
}
