import Cryptography
public import PacketFormats
public import PacketMemory

/// The way of a handshake datagram, serial:
///
/// 1. type and size;
/// 2. `mac1`: the sender knows our public key;
/// 3. under load `mac2`, or a cookie reply and no more; then the source's rate limit;
/// 4. the Noise message itself, which costs four multiplications, and in profile `branchline` an
///    encapsulation as well, once the initiator is known to be a peer;
/// 5. only then timers, endpoint and sessions.
///
/// A peer has one profile. What it sends of another is dropped, whatever else is right with it.
///
/// Source: WireGuard paper, sections 5.3 and 5.4.
extension WireGuardDevice {
    /// Takes one handshake datagram: initiation, response or cookie reply.
    ///
    /// - Parameters:
    ///   - datagram: Anything at all; it is not written to.
    ///   - isUnderLoad: Whether handshakes arrive faster than they can be worked on.
    ///   - maySpend: Asked once about a message whose sender has shown a cookie, so that others
    ///     cannot use up what a limit leaves.
    public func receive(
        _ datagram: ByteRegion, from source: Endpoint, now: UInt64, wallClock: WallClock,
        isUnderLoad: Bool, maySpend: () -> Bool = { true }
    ) -> ReceiveOutcome {
        wallClockAnchor = (now, wallClock)
        switch WireGuardMessage.type(of: datagram) {
        case .invalid(.unknownType): return .dropped(.unknownType)
        case .invalid(.tooShort), .invalid(.wrongLength): return .dropped(.wrongLength)
        case .message(.transportData): return .dropped(.misdirectedData)
        case .message(.cookieReply): return receiveCookieReply(datagram, now: now)
        case .message(.initiation):
            return admit(datagram, source, now, isUnderLoad, maySpend) { privateKey in
                receiveInitiation(datagram, from: source, privateKey: privateKey, now: now)
            }
        case .message(.response):
            return admit(datagram, source, now, isUnderLoad, maySpend) { privateKey in
                receiveResponse(datagram, from: source, privateKey: privateKey, now: now)
            }
        }
    }

    /// Runs `body` if the message deserves an asymmetric computation.
    private func admit(
        _ message: ByteRegion, _ source: Endpoint, _ now: UInt64, _ isUnderLoad: Bool,
        _ maySpend: () -> Bool, _ body: (PrivateKey) -> ReceiveOutcome
    ) -> ReceiveOutcome {
        guard let privateKey, cookieChecker != nil else { return .dropped(.noPrivateKey) }
        guard cookieChecker?.isMAC1Valid(message) == true else { return .dropped(.invalidMAC1) }
        guard isUnderLoad else { return body(privateKey) }
        let isMAC2Valid =
            cookieChecker?.isMAC2Valid(message, from: source, now: now, random: random) ?? false
        guard isMAC2Valid else {
            sendCookieReply(to: message, source, now)
            return .dropped(.invalidMAC2UnderLoad)
        }
        guard rateLimiter.allow(source.address, now: now), maySpend() else {
            return .dropped(.cookieRateLimited)
        }
        return body(privateKey)
    }

    private func sendCookieReply(to message: ByteRegion, _ source: Endpoint, _ now: UInt64) {
        let reply = scratch.message.prefix(WireGuardMessage.CookieReply.count)
        cookieChecker?.writeReply(to: message, from: source, now: now, random: random, into: reply)
        let answer = HandshakeMessage(kind: .cookieReply, message: reply)
        actions.append(.sendHandshake(answer, to: source, peer: nil))
    }

    /// Keeps the cookie for the next message to the peer; nothing is sent now.
    private func receiveCookieReply(_ reply: ByteRegion, now: UInt64) -> ReceiveOutcome {
        let receiver = reply.littleEndian32(
            at: WireGuardMessage.CookieReply.receiverIndexOffset)
        guard let id = indices.peer(of: receiver, in: tunnel), let peer = peer(id),
            WireGuardMessage.family(of: reply) == peer.profile.family
        else { return .dropped(.cookieReplyWithoutRequest) }
        let outcome = peer.cookie.accept(
            reply, from: peer.publicKey, now: now, scratch: scratch.plaintext.prefix(16))
        switch outcome {
        case .accepted: return .accepted(peer.id)
        case .notAsked: return .dropped(.cookieReplyWithoutRequest)
        case .invalid: return .dropped(.cookieReplyInvalid)
        }
    }
}
