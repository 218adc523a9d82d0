import CSodium
public import PacketMemory

/// Turns a passphrase into a key, at a price that makes guessing expensive.
///
/// Source: RFC 9106, Argon2id version 1.3 with one lane.
public enum Argon2id {
    public static var saltCount: Int { 16 }

    /// - Parameter salt: 16 bytes.
    /// - Parameter passes: How often the memory is gone through, at least 1.
    /// - Parameter memoryBytes: How much memory the computation holds, at least 8 KiB.
    /// - Returns: `false`, and a zero `key`, where the system does not have that much memory.
    ///
    /// `crypto_pwhash`
    public static func derive(
        passphrase: ByteRegion, salt: ByteRegion, passes: Int, memoryBytes: Int,
        into key: inout Secret32
    ) -> Bool {
        precondition(salt.count == saltCount, "the salt is 16 bytes long")
        precondition(passes >= 1 && memoryBytes >= 8192, "too cheap")
        Sodium.prepare()
        let status = key.withMutableBytes { key in
            unsafe passphrase.unsafeStart.withMemoryRebound(
                to: CChar.self, capacity: passphrase.count
            ) {
                unsafe crypto_pwhash(
                    key.bytePointer, UInt64(key.count), $0, UInt64(passphrase.count),
                    salt.bytePointer, UInt64(passes), memoryBytes, crypto_pwhash_ALG_ARGON2ID13)
            }
        }
        if status == 0 { return true }
        key.wipe()
        return false
    }
}
