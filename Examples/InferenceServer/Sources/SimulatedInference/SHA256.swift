import CSodium

/// A running SHA-256 over bytes that arrive in pieces.
///
/// Source: FIPS 180-4, by libsodium.
struct SHA256 {
    private var state = crypto_hash_sha256_state()

    init() {
        _ = unsafe crypto_hash_sha256_init(&state)
    }

    mutating func update(_ text: String) {
        var text = text
        text.withUTF8 { bytes in
            // An empty string may have no base address, and nothing to hash.
            guard let start = bytes.baseAddress else { return }
            _ = unsafe crypto_hash_sha256_update(&state, start, UInt64(bytes.count))
        }
    }

    /// The digest's 32 bytes.
    consuming func finalize() -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: Int(crypto_hash_sha256_BYTES))
        _ = unsafe crypto_hash_sha256_final(&state, &digest)
        return digest
    }

    /// The digest as 64 lower-case hexadecimal digits.
    consuming func finalizeHex() -> String {
        let digits = Array("0123456789abcdef".utf8)
        let characters = finalize().flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
        return String(decoding: characters, as: UTF8.self)
    }
}
