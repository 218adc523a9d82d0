public import Cryptography
public import PacketFormats
public import PacketMemory
import Synchronization

/// Number of a peer within its device; its home worker is this modulo the worker count.
public typealias PeerID = Int32

/// One pair of transport keys, made by one handshake.
///
/// Shared by threads: the counter and the flags are atomic, the replay window lies behind a mutex
/// that a worker takes for each datagram, nearly always uncontended. The keys are wiped when the
/// last reference goes. With its replay window a session occupies about 1.3 KiB; of profile
/// `branchline` 8.3 KiB, and 2 KiB more for the expanded keys of AES-256-GCM.
///
/// Source: WireGuard paper, sections 5.4.5, 5.4.6 and 6.
public final class Session: Sendable {
    /// Index that the peer puts into what it sends us.
    public let localIndex: UInt32
    /// Index that we put into what we send.
    public let remoteIndex: UInt32
    /// The device whose session it is.
    public let tunnel: TunnelID
    public let peer: PeerID
    public let profile: TunnelProfile
    /// Whether we sent the initiation of the handshake.
    public let isInitiator: Bool
    /// Monotonic nanoseconds.
    public let createdAt: UInt64
    /// The peer's timer stamps and byte counts.
    public let activity: PeerActivity

    let sendKey: Secret32
    let receiveKey: Secret32
    /// The same keys expanded, where the cipher is AES-256-GCM.
    private let sendKeyAES: AES256GCMKey?
    private let receiveKeyAES: AES256GCMKey?
    /// What its messages begin with.
    private let typeWord: UInt32
    private let rekeyAfterMessages: UInt64
    private let rejectAfterMessages: UInt64
    let nextCounter = Atomic<UInt64>(0)
    let state = Atomic<UInt8>(0)
    /// What the window began with, to be fetched without its lock; never read for its meaning.
    private let windowWords: ByteArena
    let window: Mutex<ReplayWindow>

    init(
        localIndex: UInt32, remoteIndex: UInt32, tunnel: TunnelID = 0, peer: PeerID,
        profile: TunnelProfile = .wireguard, isInitiator: Bool, createdAt: UInt64,
        activity: PeerActivity, sendKey: borrowing Secret32, receiveKey: borrowing Secret32
    ) {
        self.localIndex = localIndex
        self.remoteIndex = remoteIndex
        self.tunnel = tunnel
        self.peer = peer
        self.profile = profile
        self.isInitiator = isInitiator
        self.createdAt = createdAt
        self.activity = activity
        self.sendKey = sendKey.clone()
        self.receiveKey = receiveKey.clone()
        let isAES = profile.handshakeCipher == .aesGCM
        sendKeyAES = isAES ? AES256GCMKey.expand(sendKey) : nil
        receiveKeyAES = isAES ? AES256GCMKey.expand(receiveKey) : nil
        precondition(
            !isAES || (sendKeyAES != nil && receiveKeyAES != nil),
            "no session is made with a cipher that this machine does not have")
        typeWord = WireGuardMessage.typeWord(.transportData, profile.family)
        rekeyAfterMessages = profile.rekeyAfterMessages
        rejectAfterMessages = profile.rejectAfterMessages
        windowWords = ReplayWindow.makeWords(profile)
        window = Mutex(ReplayWindow(words: windowWords, profile))
        state.store(isInitiator ? State.confirmed : 0, ordering: .relaxed)
    }

    private typealias Layout = WireGuardMessage.TransportData

    enum State {
        static let confirmed: UInt8 = 1
        static let retired: UInt8 = 2
        static let askedForRekey: UInt8 = 4
    }
}

// MARK: - Sending

extension Session {
    /// Takes consecutive counters, never to be handed out again.
    ///
    /// - Parameter count: At least 1, at most 65,536.
    /// - Returns: The first of them; `nil` once they would reach the limit of the session, which
    ///   ends its sending.
    public func reserveCounters(_ count: Int) -> UInt64? {
        guard count > 0, count <= 65_536 else { return nil }
        let amount = UInt64(count)
        let limit = rejectAfterMessages
        var first = nextCounter.load(ordering: .relaxed)
        // Not added at once and looked at afterwards: the limit lies so near to 2^64 that a few
        // refused runs would wrap the counter around.
        while first < limit {
            let isRefused = amount > limit &- first
            let (isExchanged, found) = nextCounter.weakCompareExchange(
                expected: first, desired: isRefused ? limit : first &+ amount, ordering: .relaxed)
            if isExchanged { return isRefused ? nil : first }
            first = found
        }
        return nil
    }

    /// The number of counters handed out: messages sent with this session.
    public var sentCount: UInt64 { nextCounter.load(ordering: .relaxed) }

    /// Whether packets may be sent with it now: alive, confirmed, and counters are left.
    public func isUsableForSending(now: UInt64) -> Bool {
        state.load(ordering: .acquiring) & (State.confirmed | State.retired) == State.confirmed
            && age(at: now) < ProtocolConstants.rejectAfterTime
            && nextCounter.load(ordering: .relaxed) < rejectAfterMessages
    }

    /// Whether a packet that was just sent makes a new handshake due.
    public func needsRekeyAfterSending(now: UInt64) -> Bool {
        nextCounter.load(ordering: .relaxed) > rekeyAfterMessages
            || (isInitiator && age(at: now) >= ProtocolConstants.rekeyAfterTime)
    }

    /// Whether the session can be sent with and needs no successor, by any of the rules.
    func isFresh(now: UInt64) -> Bool {
        isUsableForSending(now: now) && !needsRekeyAfterSending(now: now)
            && age(at: now) < ProtocolConstants.rekeyAfterTimeReceiving
    }

    /// Writes one transport message: header, encrypted packet, tag.
    ///
    /// - Parameters:
    ///   - counter: One that ``reserveCounters(_:)`` gave, used for nothing else.
    ///   - packet: The inner packet with its padding; empty for a keepalive.
    ///   - datagram: Holds at least 32 bytes more than `packet`, and does not overlap it.
    /// - Returns: Bytes written.
    public func seal(
        counter: UInt64, packet: ByteRegion, into datagram: ByteRegion, with cipher: PacketCipher
    ) -> Int {
        datagram.storeLittleEndian(typeWord, at: WireGuardMessage.typeOffset)
        datagram.storeLittleEndian(remoteIndex, at: Layout.receiverIndexOffset)
        datagram.storeLittleEndian(counter, at: Layout.counterOffset)
        let encryptedCount = packet.count &+ Layout.tagCount
        let body = datagram.region(at: Layout.headerCount, count: encryptedCount)
        if let sendKeyAES {
            cipher.sealAES256GCM(key: sendKeyAES, counter: counter, plaintext: packet, into: body)
        } else {
            cipher.sealChaCha20Poly1305(
                key: sendKey, counter: counter, plaintext: packet, into: body)
        }
        return Layout.headerCount &+ encryptedCount
    }

    /// Nanoseconds since the handshake; 0 if the clock went backwards.
    public func age(at now: UInt64) -> UInt64 {
        MonotonicTime.elapsed(from: createdAt, to: now)
    }
}

// MARK: - Receiving

extension Session {
    /// Whether packets may be accepted with it now.
    public func isUsableForReceiving(now: UInt64) -> Bool {
        state.load(ordering: .acquiring) & State.retired == 0
            && age(at: now) < ProtocolConstants.rejectAfterTime
    }

    /// Decrypts one transport message in place.
    ///
    /// - Parameters:
    ///   - datagram: At least 32 bytes, its receiver index already looked at.
    ///   - cipher: Of the implementation that is made where nobody asks for another.
    /// - Returns: The padded inner packet, or control frames, at offset 16 of `datagram`; `nil` if
    ///   it is not authentic, and ``refusal(of:)`` says why. The counter is not yet checked:
    ///   ``acceptCounter(_:)`` comes next.
    public func open(datagram: ByteRegion, with cipher: PacketCipher) -> ByteRegion? {
        guard datagram.count >= Layout.overhead else { return nil }
        let counter = datagram.littleEndian64(at: Layout.counterOffset)
        guard datagram.littleEndian32(at: WireGuardMessage.typeOffset) == typeWord,
            counter < rejectAfterMessages
        else { return nil }
        let body = datagram.region(from: Layout.headerCount)
        let isAuthentic =
            if let receiveKeyAES {
                cipher.openAES256GCM(key: receiveKeyAES, counter: counter, input: body, into: body)
            } else {
                cipher.openChaCha20Poly1305(
                    key: receiveKey, counter: counter, input: body, into: body)
            }
        return isAuthentic ? body.prefix(body.count &- Layout.tagCount) : nil
    }

    /// Why ``open(datagram:with:)`` did not open a message.
    ///
    /// - Parameter datagram: At least 4 bytes.
    public func refusal(of datagram: ByteRegion) -> DropReason {
        datagram.littleEndian32(at: WireGuardMessage.typeOffset) == typeWord
            ? .authenticationFailed : .wrongProfile
    }

    /// Fetches from memory what ``open(datagram:with:)`` and ``acceptCounter(_:)`` will want.
    ///
    /// Called for several sessions before any of them is used, the fetches go on side by side.
    /// - Returns: A number without a meaning, which the caller must make use of, lest the compiler
    ///   leave the reading out.
    public func fetch(counter: UInt64) -> UInt32 {
        let word = windowWords.whole.littleEndian32(
            at: ReplayWindow.offset(ofWord: counter >> 6, in: windowWords))
        let key = receiveKeyAES?.fetch() ?? receiveKey.withBytes { $0.littleEndian32(at: 0) }
        return word ^ key
            ^ UInt32(truncatingIfNeeded: activity.receivedBytes ^ activity.lastTraversal)
    }

    /// Accepts the counter of an authenticated packet once; `false` for a replay.
    public func acceptCounter(_ counter: UInt64) -> Bool {
        window.withLock { $0.accept(counter) }
    }

    /// Runs `body` with the replay window locked, for a run of authenticated packets.
    public func withReplayWindow<Result>(
        _ body: (inout ReplayWindow) -> Result
    ) -> Result {
        window.withLock { window in body(&window) }
    }

    /// Whether a packet that was just received makes a new handshake due; true once a session.
    public func needsRekeyAfterReceiving(now: UInt64) -> Bool {
        guard isInitiator, age(at: now) >= ProtocolConstants.rekeyAfterTimeReceiving else {
            return false
        }
        guard state.load(ordering: .relaxed) & State.askedForRekey == 0 else { return false }
        let (old, _) = state.bitwiseOr(State.askedForRekey, ordering: .relaxed)
        return old & State.askedForRekey == 0
    }

    /// Whether both ends are known to hold the keys: at once for the initiator, for the responder
    /// from the first authenticated packet on.
    public var isConfirmed: Bool { state.load(ordering: .acquiring) & State.confirmed != 0 }

    /// Notes an authenticated packet.
    ///
    /// - Returns: `true` for the one call that confirms the session: tell the device.
    public func confirm() -> Bool {
        guard !isConfirmed else { return false }
        let (old, _) = state.bitwiseOr(State.confirmed, ordering: .acquiringAndReleasing)
        return old & State.confirmed == 0
    }
}

// MARK: - End

extension Session {
    /// Whether the device gave the session up; its keys are wiped with the last reference.
    public var isRetired: Bool { state.load(ordering: .acquiring) & State.retired != 0 }

    func retire() { state.bitwiseOr(State.retired, ordering: .releasing) }
}
