/// Numbers that both ends of a tunnel rely on; times in nanoseconds, limits in messages.
///
/// Source: WireGuard paper, sections 5.4 and 6.1.
public enum ProtocolConstants {
    /// Name of the Noise construction, first input of the chaining key.
    public static let construction = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
    /// Identifier of the protocol: the Noise prologue.
    public static let identifier = "WireGuard v1 zx2c4 Jason@zx2c4.com"
    /// Names of the hybrid constructions, by cipher.
    public static let hybridConstructionChaCha =
        "Noise_IKhfs+psk2_25519+MLKEM768_ChaChaPoly_BLAKE2s"
    public static let hybridConstructionAES = "Noise_IKhfs+psk2_25519+MLKEM768_AESGCM_BLAKE2s"
    /// Prologues of the hybrid handshakes: the profile's number, which is in every message's type,
    /// and the cipher, which is not.
    public static let hybridIdentifierChaCha = "Branchline profile 1 ChaChaPoly"
    public static let hybridIdentifierAES = "Branchline profile 1 AESGCM"
    /// Label of the key that authenticates `mac1`.
    public static let mac1Label = "mac1----"
    /// Label of the key that encrypts cookies.
    public static let cookieLabel = "cookie--"

    /// Messages after which an initiator or responder asks for new keys.
    public static let rekeyAfterMessages: UInt64 = 1 << 60
    /// Counters below this value may be used; none at or above it.
    public static let rejectAfterMessages: UInt64 = UInt64.max - (1 << 13)
    /// ``rekeyAfterMessages`` with AES-256-GCM.
    public static let rekeyAfterMessagesAES: UInt64 = 1 << 26
    /// ``rejectAfterMessages`` with AES-256-GCM: 2^33.5 blocks where packets have 1,420 bytes, so
    /// that the chance to tell them from noise stays below 2^-61.
    ///
    /// Source: NIST SP 800-38D; Luykx and Paterson, Limits on authenticated encryption use in TLS.
    public static let rejectAfterMessagesAES: UInt64 = 1 << 27
    /// Age of a session at which its initiator asks for new keys when it sends.
    public static let rekeyAfterTime: UInt64 = 120 * second
    /// Age at which a session is dead in both directions.
    public static let rejectAfterTime: UInt64 = 180 * second
    /// How long one attempt to make a session lasts, retries included.
    public static let rekeyAttemptTime: UInt64 = 90 * second
    /// Pause after an initiation or a response to one peer, until the next initiation to it.
    public static let rekeyTimeout: UInt64 = 5 * second
    /// Silence after received data that a keepalive ends.
    public static let keepaliveTimeout: UInt64 = 10 * second
    /// Greatest random delay added to retries.
    public static let rekeyJitterMax: UInt64 = 333 * millisecond
    /// Silence after sent data that makes a new handshake.
    public static let newHandshakeTimeout: UInt64 = keepaliveTimeout + rekeyTimeout
    /// Time without a new session after which all keys of a peer are wiped.
    public static let zeroKeysAfterTime: UInt64 = 3 * rejectAfterTime
    /// Age at which an initiator asks for new keys when it receives, to have them before the end.
    public static let rekeyAfterTimeReceiving: UInt64 =
        rejectAfterTime - keepaliveTimeout - rekeyTimeout
    /// Life of the secret that cookies are made from.
    public static let cookieSecretTime: UInt64 = 120 * second
    /// How much earlier the holder of a cookie stops to use it.
    public static let cookieLatency: UInt64 = 5 * second
    /// Transport payloads are padded to a multiple of this.
    public static let paddingMultiple = 16

    static let second: UInt64 = 1_000_000_000
    static let millisecond: UInt64 = 1_000_000
}
