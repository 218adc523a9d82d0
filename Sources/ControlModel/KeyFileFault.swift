/// Why bytes are not a key.
public enum KeyFileFault: String, Error, CaseIterable, Hashable, Sendable {
    case notAKeyFile, unsupportedVersion, wrongKind
    /// The stored cost lies outside of what this code is willing to compute.
    case costOutOfBounds
    case passphraseMissing
    /// An unprotected file was opened with a passphrase: it is not what the caller thinks it is.
    case passphraseUnexpected
    case passphraseTooLong
    case wrongPassphraseOrDamaged
    /// The private key does not belong to the public key beside it.
    case keyMismatch
    case outOfMemory
}
