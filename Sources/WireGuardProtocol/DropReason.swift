/// Why a datagram or an inner packet went no further: one case per reason.
///
/// The raw values index counters; ``name`` is the spelling in status output.
public enum DropReason: Int, CaseIterable, Sendable {
    // Any datagram.
    case unknownType
    case wrongLength
    /// Transport data where only handshake messages are taken.
    case misdirectedData

    // Handshake messages.
    case noPrivateKey
    case invalidMAC1
    case invalidMAC2UnderLoad
    case cookieRateLimited
    case unknownReceiverIndex
    case lowOrderPublicKey
    case handshakeAuthenticationFailed
    case unknownPeer
    case staticKeysIncompatible
    /// It is of another profile than the one that it belongs to.
    case wrongProfile
    /// An authentic peer's encapsulation key is none.
    case invalidEncapsulationKey
    case replayedTimestamp
    case initiationFlood
    case responseWithoutInitiation
    /// A response to an initiation that crossed the peer's, whose session is already in use.
    case crossedInitiation
    /// It names no message of ours, or one that already has its cookie.
    case cookieReplyWithoutRequest
    case cookieReplyInvalid

    // Transport data: found by the data path.
    case sessionExpired
    case authenticationFailed
    case replayed
    case innerMalformed
    case sourceNotAllowed
    case ecnDrop

    // Outgoing packets: found by the data path.
    case notIP
    case noRoute
    case noEndpoint
    case stagedQueueFull
    case handshakeFailed

    /// The case's name in snake case, e.g. `invalid_mac1`.
    public var name: String {
        switch self {
        case .unknownType: "unknown_type"
        case .wrongLength: "wrong_length"
        case .misdirectedData: "misdirected_data"
        case .noPrivateKey: "no_private_key"
        case .invalidMAC1: "invalid_mac1"
        case .invalidMAC2UnderLoad: "invalid_mac2_under_load"
        case .cookieRateLimited: "cookie_rate_limited"
        case .unknownReceiverIndex: "unknown_receiver_index"
        case .lowOrderPublicKey: "low_order_public_key"
        case .handshakeAuthenticationFailed: "handshake_authentication_failed"
        case .unknownPeer: "unknown_peer"
        case .staticKeysIncompatible: "static_keys_incompatible"
        case .wrongProfile: "wrong_profile"
        case .invalidEncapsulationKey: "invalid_encapsulation_key"
        case .replayedTimestamp: "replayed_timestamp"
        case .initiationFlood: "initiation_flood"
        case .responseWithoutInitiation: "response_without_initiation"
        case .crossedInitiation: "crossed_initiation"
        case .cookieReplyWithoutRequest: "cookie_reply_without_request"
        case .cookieReplyInvalid: "cookie_reply_invalid"
        case .sessionExpired: "session_expired"
        case .authenticationFailed: "authentication_failed"
        case .replayed: "replayed"
        case .innerMalformed: "inner_malformed"
        case .sourceNotAllowed: "source_not_allowed"
        case .ecnDrop: "ecn_drop"
        case .notIP: "not_ip"
        case .noRoute: "no_route"
        case .noEndpoint: "no_endpoint"
        case .stagedQueueFull: "staged_queue_full"
        case .handshakeFailed: "handshake_failed"
        }
    }
}

extension DropReason {
    /// Whether a handshake message that was dropped for this had a valid `mac1`, so that its sender
    /// knows our public key.
    public var isAfterMAC1: Bool {
        switch self {
        case .invalidMAC2UnderLoad, .cookieRateLimited, .unknownReceiverIndex,
            .lowOrderPublicKey, .handshakeAuthenticationFailed, .unknownPeer,
            .staticKeysIncompatible, .wrongProfile, .invalidEncapsulationKey, .replayedTimestamp,
            .initiationFlood, .responseWithoutInitiation, .crossedInitiation:
            true
        case .unknownType, .wrongLength, .misdirectedData, .noPrivateKey, .invalidMAC1,
            .cookieReplyWithoutRequest, .cookieReplyInvalid:
            false
        case .sessionExpired, .authenticationFailed, .replayed, .innerMalformed,
            .sourceNotAllowed, .ecnDrop, .notIP, .noRoute, .noEndpoint, .stagedQueueFull,
            .handshakeFailed:
            false
        }
    }
}
