import CSodium

/// The hash function of tokens at rest, certificate pins and the audit log.
///
/// Source: FIPS 180-4, section 6.2.
public enum SHA256 {
    public static var count: Int { 32 }

    /// - Returns: 32 bytes. `crypto_hash_sha256`
    public static func hash(_ bytes: [UInt8]) -> [UInt8] {
        Sodium.prepare()
        var digest = [UInt8](repeating: 0, count: count)
        unsafe digest.withUnsafeMutableBufferPointer { digest in
            unsafe bytes.withUnsafeBufferPointer { bytes in
                guard let digest = digest.baseAddress else { return }
                // Hashing cannot fail.
                _ = unsafe crypto_hash_sha256(digest, bytes.baseAddress, UInt64(bytes.count))
            }
        }
        return digest
    }

    /// - Returns: 32 bytes, of the text's UTF-8.
    public static func hash(_ text: String) -> [UInt8] { hash([UInt8](text.utf8)) }
}
