import Cryptography
import PacketMemory

/// The running state of a Noise handshake: chaining key, hash, and the key of the next field.
///
/// Source: Noise Protocol Framework, revision 34, section 5.2.
struct SymmetricState: ~Copyable {
    private(set) var chainingKey: Secret32
    private(set) var hash: Digest32
    private let cipher: HandshakeCipher
    private var key = Secret32()
    private var counter: UInt64 = 0

    /// Begins a handshake, with both ends' knowledge of the protocol and nothing else mixed in.
    init(_ start: NoiseStart) {
        chainingKey = Secret32(start.chainingKey)
        hash = start.hash
        cipher = start.cipher
    }

    /// Goes on from a kept state in which the next token replaces the key of fields.
    init(
        chainingKey: borrowing Secret32, hash: Digest32, cipher: HandshakeCipher = .chaChaPoly
    ) {
        self.chainingKey = chainingKey.clone()
        self.cipher = cipher
        self.hash = hash
    }

    mutating func mixHash(_ data: ByteRegion) {
        hash = BLAKE2s.hash(hash, data)
    }

    mutating func mixHash(_ publicKey: PublicKey) {
        publicKey.withBytes { mixHash($0) }
    }

    /// MixKey where another token replaces the key before it is used.
    mutating func mixChainingKey(_ input: ByteRegion) {
        HKDFBLAKE2s.mix(&chainingKey, input)
    }

    mutating func mixChainingKey(_ secret: borrowing Secret32) {
        secret.withBytes { HKDFBLAKE2s.mix(&chainingKey, $0) }
    }

    mutating func mixKey(_ secret: borrowing Secret32) {
        secret.withBytes { HKDFBLAKE2s.mix(&chainingKey, $0, key: &key) }
        counter = 0
    }

    mutating func mixKeyAndHash(_ presharedKey: PresharedKey) {
        var temporary = Secret32()
        presharedKey.withBytes {
            HKDFBLAKE2s.mix(&chainingKey, $0, temporary: &temporary, key: &key)
        }
        temporary.withBytes { mixHash($0) }
        counter = 0
    }

    /// Encrypts `plaintext` into `field`, which is 16 bytes longer.
    mutating func encryptAndHash(_ plaintext: ByteRegion, into field: ByteRegion) {
        HandshakeAEAD.seal(
            cipher, key: key, counter: counter, plaintext: plaintext, associated: hash,
            into: field)
        counter &+= 1
        mixHash(field)
    }

    /// Decrypts `field` into `plaintext`; `false` if it is not authentic.
    mutating func decryptAndHash(_ field: ByteRegion, into plaintext: ByteRegion) -> Bool {
        guard
            HandshakeAEAD.open(
                cipher, key: key, counter: counter, ciphertext: field, associated: hash,
                into: plaintext)
        else { return false }
        counter &+= 1
        mixHash(field)
        return true
    }

    /// Ends the handshake: the initiator sends with the first key, the responder with the second.
    ///
    /// - Parameter empty: A region of no bytes.
    mutating func split(
        _ empty: ByteRegion, initiatorKey: inout Secret32, responderKey: inout Secret32
    ) {
        HKDFBLAKE2s.mix(&chainingKey, empty, key: &responderKey)
        initiatorKey.replace(with: chainingKey)
        chainingKey.wipe()
        key.wipe()
    }
}

extension Secret32 {
    /// A digest as a key.
    init(_ digest: Digest32) {
        self.init()
        withMutableBytes { key in digest.withBytes { key.copy(from: $0) } }
    }
}

/// What every handshake of a protocol begins with: hashes of its name and prologue.
struct NoiseStart: Sendable {
    let chainingKey: Digest32
    let hash: Digest32
    let cipher: HandshakeCipher

    /// - Parameters:
    ///   - name: More than 32 bytes, so that it is hashed and not padded.
    ///   - cipher: The one that the name names.
    init(name: String, prologue: [UInt8], cipher: HandshakeCipher = .chaChaPoly) {
        self.cipher = cipher
        chainingKey = BLAKE2s.hash(Array(name.utf8))
        hash = ByteArena.withCopy(of: prologue) { [chainingKey] in BLAKE2s.hash(chainingKey, $0) }
    }

    static let wireGuard = NoiseStart(
        name: ProtocolConstants.construction, prologue: Array(ProtocolConstants.identifier.utf8))

    static let branchlineChaCha = NoiseStart(
        name: ProtocolConstants.hybridConstructionChaCha,
        prologue: Array(ProtocolConstants.hybridIdentifierChaCha.utf8))

    static let branchlineAES = NoiseStart(
        name: ProtocolConstants.hybridConstructionAES,
        prologue: Array(ProtocolConstants.hybridIdentifierAES.utf8), cipher: .aesGCM)
}
