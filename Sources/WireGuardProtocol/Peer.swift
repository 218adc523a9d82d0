import Cryptography
import PacketFormats

/// Everything the control path knows of one peer.
final class Peer {
    let id: PeerID
    var publicKey: PublicKey
    let activity = PeerActivity()

    /// Diffie-Hellman of both static keys, the same for all handshakes.
    var staticStatic = Secret32()
    /// `false` if the secret is all zero, or we have no private key: handshakes cannot succeed.
    var areStaticKeysCompatible = false
    var presharedKey: PresharedKey?
    /// What it speaks, and nothing else.
    var profile = TunnelProfile.wireguard
    /// That it spoke another one, unless it has spoken this one since.
    var mismatch: ProfileMismatch?
    var endpoint: Endpoint?
    var persistentKeepaliveSeconds: UInt16 = 0

    // Sessions; see `WireGuardDevice+Sessions.swift`.
    /// The one to send with.
    var current: Session?
    /// Those before it that may still receive, the newest first: packets are under way, and after
    /// a crossing the peer may go on with one of them.
    var former: [Session] = []
    /// Made as responder and not yet confirmed.
    var next: Session?

    // Handshake as initiator.
    var pending: PendingInitiation?
    /// When the last initiation or response left, in monotonic nanoseconds; `nil` before the first.
    var lastHandshakeSentAt: UInt64?
    /// When the current attempt to make a session began.
    var attemptStartedAt: UInt64 = 0
    var lastTimestampSent = TAI64N()
    var cookie = CookieState()

    // Handshake as responder.
    var lastTimestampReceived = TAI64N()
    /// Monotonic nanoseconds; `nil` before the first.
    var lastInitiationAcceptedAt: UInt64?

    /// Measures the way to it, once there is a session; `nil` without one of profile `branchline`.
    var path: PathMonitor?
    /// It must begin anew.
    var isPathStale = false
    /// The longest inner packet that the data path was told to send.
    var packetMax: Int?

    /// When the last handshake completed.
    var lastHandshake: WallClock?
    var deadlines = PeerDeadlines()

    init(id: PeerID, publicKey: PublicKey) {
        self.id = id
        self.publicKey = publicKey
    }

    /// All of them.
    var sessions: [Session] { [current, next].compactMap { $0 } + former }
}

/// An initiation that waits for its response.
final class PendingInitiation {
    let localIndex: UInt32
    let ephemeral: PrivateKey
    /// What the response's ciphertext is for, in profile `branchline`: a seed until then.
    let decapsulationKey: DecapsulationKey?
    /// Monotonic nanoseconds.
    let sentAt: UInt64
    let chainingKey: Secret32
    let hash: Digest32

    init(
        localIndex: UInt32, ephemeral: PrivateKey, decapsulationKey: DecapsulationKey?,
        sentAt: UInt64, state: borrowing SymmetricState
    ) {
        self.localIndex = localIndex
        self.ephemeral = ephemeral
        self.decapsulationKey = decapsulationKey
        self.sentAt = sentAt
        chainingKey = state.chainingKey.clone()
        hash = state.hash
    }
}

/// The timers of one peer: monotonic nanoseconds at which each is due.
struct PeerDeadlines {
    enum Kind: CaseIterable {
        /// Send an initiation, again or after a pause.
        case handshake
        /// Look whether sent data is still unanswered.
        case answer
        /// Look whether received data still wants a sign of life.
        case keepalive
        /// Look whether the line has been silent for the persistent keepalive's interval.
        case persistentKeepalive
        /// Retire all sessions.
        case zeroKeys
        /// Measure the path.
        case path

        /// Those that another process goes on with; measuring begins anew.
        static let carriedOver: [Kind] = [
            .handshake, .answer, .keepalive, .persistentKeepalive, .zeroKeys,
        ]
    }

    // Named fields: optimised by Swift 6.3.1, an InlineArray in a class lost stores.
    private var handshake = never
    private var answer = never
    private var keepalive = never
    private var persistentKeepalive = never
    private var zeroKeys = never
    private var path = never

    subscript(kind: Kind) -> UInt64? {
        get {
            let time =
                switch kind {
                case .handshake: handshake
                case .answer: answer
                case .keepalive: keepalive
                case .persistentKeepalive: persistentKeepalive
                case .zeroKeys: zeroKeys
                case .path: path
                }
            return time == Self.never ? nil : time
        }
        set {
            let time = newValue ?? Self.never
            switch kind {
            case .handshake: handshake = time
            case .answer: answer = time
            case .keepalive: keepalive = time
            case .persistentKeepalive: persistentKeepalive = time
            case .zeroKeys: zeroKeys = time
            case .path: path = time
            }
        }
    }

    var earliest: UInt64? {
        let earliest = min(
            min(handshake, answer, keepalive), min(persistentKeepalive, zeroKeys, path))
        return earliest == Self.never ? nil : earliest
    }

    private static let never = UInt64.max
}
