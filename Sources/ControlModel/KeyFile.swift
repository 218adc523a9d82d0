public import Cryptography
public import PacketMemory

/// A signing key at rest, with a passphrase or without.
///
/// | offset | bytes | |
/// |--:|--:|---|
/// | 0 | 8 | `BLINEKEY` |
/// | 8 | 1 | version, 1 |
/// | 9 | 1 | kind: 1 root, 2 admin, 3 node |
/// | 10 | 1 | 0 unprotected, 1 Argon2id and XChaCha20-Poly1305 |
/// | 11 | 1 | 0 |
/// | 12 | 4 | passes of Argon2id, little-endian; 0 where unprotected, as are the next three |
/// | 16 | 4 | its memory in KiB, little-endian |
/// | 20 | 16 | salt |
/// | 36 | 24 | nonce |
/// | 60 | 32 | public key |
/// | 92 | 48 or 32 | the sealed seed and its tag, or the seed |
///
/// Everything before the seed is authenticated with it. The two sizes are the only ones.
public enum KeyFile {
    /// What a key is for, so that one is not taken for another.
    public enum Kind: UInt8, CaseIterable, Hashable, Sendable {
        case root = 1
        case admin = 2
        case node = 3
    }

    /// What guessing a passphrase once costs.
    public struct Cost: Hashable, Sendable {
        public let passes: Int
        public let memoryKibibytes: Int

        /// - Returns: `nil` outside of 2 to 8 passes over 64 MiB to 1 GiB.
        public init?(passes: Int, memoryKibibytes: Int) {
            guard (2...8).contains(passes), (64 << 10...1 << 20).contains(memoryKibibytes) else {
                return nil
            }
            self.passes = passes
            self.memoryKibibytes = memoryKibibytes
        }

        private init(_ passes: Int, _ memoryKibibytes: Int) {
            self.passes = passes
            self.memoryKibibytes = memoryKibibytes
        }

        /// 2 passes over 64 MiB, about 0.1 s: the least that is accepted.
        public static var least: Cost { Cost(2, 64 << 10) }
        /// 3 passes over 256 MiB, about 0.5 s. `crypto_pwhash_MEMLIMIT_MODERATE`
        public static var standard: Cost { Cost(3, 256 << 10) }
    }

    public static var unprotectedCount: Int { headerCount + Secret32.count }
    public static var protectedCount: Int { unprotectedCount + XChaCha20Poly1305.tagCount }
    public static var passphraseBytesMax: Int { 1024 }

    /// Seals `key` under a passphrase.
    ///
    /// - Parameter passphrase: 1 to 1024 bytes; the caller wipes them.
    /// - Parameter salt: 16 bytes, never used before.
    /// - Parameter nonce: 24 bytes, never used before.
    public static func sealed(
        _ key: borrowing SigningKey, kind: Kind, passphrase: ByteRegion, cost: Cost = .standard,
        salt: ByteRegion, nonce: ByteRegion
    ) throws(KeyFileFault) -> [UInt8] {
        let arena = ByteArena(count: protectedCount)
        let file = arena.whole
        writeHeader(of: key.verifyingKey, kind: kind, protection: .passphrase, to: file)
        file.storeLittleEndian(UInt32(cost.passes), at: passesOffset)
        file.storeLittleEndian(UInt32(cost.memoryKibibytes), at: memoryOffset)
        file.copy(from: salt, to: saltOffset)
        file.copy(from: nonce, to: nonceOffset)
        let wrapping = try wrappingKey(of: file, passphrase: passphrase)
        key.withSeed { seed in
            XChaCha20Poly1305.seal(
                key: wrapping, nonce: file.nonce, plaintext: seed, associated: file.header,
                into: file.region(from: headerCount))
        }
        return withExtendedLifetime(arena) { file.bytes }
    }

    /// Writes `key` in the clear, for files that only their owner may read.
    ///
    /// - Parameter file: Exactly `unprotectedCount` bytes, which the caller wipes.
    public static func writeUnprotected(
        _ key: borrowing SigningKey, kind: Kind, to file: ByteRegion
    ) {
        precondition(file.count == unprotectedCount, "an unprotected key file has one size")
        writeHeader(of: key.verifyingKey, kind: kind, protection: .none, to: file)
        key.withSeed { file.copy(from: $0, to: headerCount) }
    }

    /// Whether opening these bytes will need a passphrase.
    public static func needsPassphrase(_ file: ByteRegion) throws(KeyFileFault) -> Bool {
        try protection(of: file) == .passphrase
    }

    /// The public key that the file names, which only opening it proves.
    public static func publicKey(_ file: ByteRegion) throws(KeyFileFault) -> VerifyingKey {
        _ = try protection(of: file)
        return VerifyingKey(
            copying: file.region(at: publicKeyOffset, count: VerifyingKey.count))
    }

    /// - Parameter passphrase: `nil` for an unprotected file.
    public static func open(
        _ file: ByteRegion, kind: Kind, passphrase: ByteRegion?
    ) throws(KeyFileFault) -> SigningKey {
        let protection = try protection(of: file)
        guard file[kindOffset] == kind.rawValue else { throw .wrongKind }
        var seed = Secret32()
        switch (protection, passphrase) {
        case (.none, nil):
            seed.withMutableBytes { $0.copy(from: file.region(from: headerCount)) }
        case (.passphrase, let passphrase?):
            let wrapping = try wrappingKey(of: file, passphrase: passphrase)
            let isOpen = seed.withMutableBytes { seed in
                XChaCha20Poly1305.open(
                    key: wrapping, nonce: file.nonce, ciphertext: file.region(from: headerCount),
                    associated: file.header, into: seed)
            }
            guard isOpen else { throw .wrongPassphraseOrDamaged }
        case (.none, .some): throw .passphraseUnexpected
        case (.passphrase, nil): throw .passphraseMissing
        }
        let key = SigningKey(seed: seed)
        let stored = VerifyingKey(
            copying: file.region(at: publicKeyOffset, count: VerifyingKey.count))
        guard key.verifyingKey == stored else { throw .keyMismatch }
        return key
    }

    private enum Protection: UInt8 {
        case none = 0
        case passphrase = 1
    }

    private static func protection(of file: ByteRegion) throws(KeyFileFault) -> Protection {
        guard file.count >= headerCount, file.prefix(magic.count).bytes == magic else {
            throw .notAKeyFile
        }
        guard file[versionOffset] == version else { throw .unsupportedVersion }
        guard let protection = Protection(rawValue: file[protectionOffset]),
            file[reservedOffset] == 0
        else { throw .unsupportedVersion }
        let count = protection == .none ? unprotectedCount : protectedCount
        guard file.count == count else { throw .notAKeyFile }
        if protection == .none {
            let unused = file.region(at: passesOffset, count: publicKeyOffset - passesOffset)
            guard unused.bytes.allSatisfy({ $0 == 0 }) else { throw .notAKeyFile }
        }
        return protection
    }

    private static func wrappingKey(
        of file: ByteRegion, passphrase: ByteRegion
    ) throws(KeyFileFault) -> Secret32 {
        guard passphrase.count > 0 else { throw .passphraseMissing }
        guard passphrase.count <= passphraseBytesMax else { throw .passphraseTooLong }
        let cost = Cost(
            passes: Int(file.littleEndian32(at: passesOffset)),
            memoryKibibytes: Int(file.littleEndian32(at: memoryOffset)))
        guard let cost else { throw .costOutOfBounds }
        var key = Secret32()
        let isDerived = Argon2id.derive(
            passphrase: passphrase,
            salt: file.region(at: saltOffset, count: Argon2id.saltCount), passes: cost.passes,
            memoryBytes: cost.memoryKibibytes << 10, into: &key)
        guard isDerived else { throw .outOfMemory }
        return key
    }

    private static func writeHeader(
        of key: VerifyingKey, kind: Kind, protection: Protection, to file: ByteRegion
    ) {
        file.fill(with: 0)
        for (offset, byte) in magic.enumerated() { file[offset] = byte }
        file[versionOffset] = version
        file[kindOffset] = kind.rawValue
        file[protectionOffset] = protection.rawValue
        key.withBytes { file.copy(from: $0, to: publicKeyOffset) }
    }

    private static let magic = Array("BLINEKEY".utf8)
    private static let version: UInt8 = 1

    private static let versionOffset = 8
    private static let kindOffset = 9
    private static let protectionOffset = 10
    private static let reservedOffset = 11
    private static let passesOffset = 12
    private static let memoryOffset = 16
    private static let saltOffset = 20
    fileprivate static let nonceOffset = 36
    private static let publicKeyOffset = 60
    fileprivate static let headerCount = 92
}

extension ByteRegion {
    fileprivate var header: ByteRegion { prefix(KeyFile.headerCount) }
    fileprivate var nonce: ByteRegion {
        region(at: KeyFile.nonceOffset, count: XChaCha20Poly1305.nonceCount)
    }
}
