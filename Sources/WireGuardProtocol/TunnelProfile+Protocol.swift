import Cryptography
public import PacketFormats

extension TunnelProfile {
    /// Whether this machine has the ciphers; no handshake of a profile that it lacks succeeds.
    public var isAvailable: Bool { handshakeCipher.isAvailable }

    /// Messages under one key after which an end asks for new ones.
    public var rekeyAfterMessages: UInt64 {
        switch handshakeCipher {
        case .chaChaPoly: ProtocolConstants.rekeyAfterMessages
        case .aesGCM: ProtocolConstants.rekeyAfterMessagesAES
        }
    }

    /// Counters below this value may be used; none at or above it, in either direction.
    public var rejectAfterMessages: UInt64 {
        switch handshakeCipher {
        case .chaChaPoly: ProtocolConstants.rejectAfterMessages
        case .aesGCM: ProtocolConstants.rejectAfterMessagesAES
        }
    }

    /// The AEAD of the handshake's fields, and of the packets that follow.
    var handshakeCipher: HandshakeCipher {
        switch self {
        case .wireguard, .branchlineChaCha: .chaChaPoly
        case .branchlineAES: .aesGCM
        }
    }

    var noiseStart: NoiseStart {
        switch self {
        case .wireguard: .wireGuard
        case .branchlineChaCha: .branchlineChaCha
        case .branchlineAES: .branchlineAES
        }
    }

    /// Counters that its sessions' replay windows remember as bits, and how far behind the
    /// greatest a packet may come.
    var replayWindow: (bitCount: Int, reach: UInt64) {
        switch family {
        case .wireguard:
            (ImplementationLimits.replayWindowBitCount,
                UInt64(ImplementationLimits.replayWindowSize))
        case .branchline:
            (ImplementationLimits.wideReplayWindowBitCount,
                UInt64(ImplementationLimits.wideReplayWindowBitCount - 1))
        }
    }

    /// What a device speaks that answers a hybrid initiation: which of them one is for shows when
    /// it is decrypted.
    static let hybrid: [TunnelProfile] = allCases.filter { $0.family == .branchline }
}

// MARK: - Handover

extension TunnelProfile {
    /// Its number in a ``DeviceSnapshot``.
    var snapshotNumber: UInt8 {
        switch self {
        case .wireguard: 0
        case .branchlineChaCha: 1
        case .branchlineAES: 2
        }
    }

    init(snapshotNumber number: UInt8) throws(SnapshotError) {
        switch number {
        case 0: self = .wireguard
        case 1: self = .branchlineChaCha
        case 2: self = .branchlineAES
        default: throw .invalid("a profile")
        }
    }
}
