import Crypto
import CSodium
public import PacketMemory

/// ML-KEM-768: one side publishes an encapsulation key, the other answers with a ciphertext, and
/// both have a secret that a quantum computer does not find either.
///
/// The arithmetic is swift-crypto's (BoringSSL). What is ours, the seed and the shared secret, is
/// wiped. The library wipes its copy of the shared secret's key object; its expanded keys and
/// intermediate buffers are released at the end of each call and not overwritten by it.
///
/// Source: FIPS 203.
public enum KeyEncapsulation {
    public static var encapsulationKeyCount: Int { 1_184 }
    public static var ciphertextCount: Int { 1_088 }

    /// Makes a secret for the owner of an encapsulation key. About 30 µs.
    ///
    /// - Parameters:
    ///   - encapsulationKey: From anyone.
    ///   - ciphertext: Exactly ``ciphertextCount`` bytes, overwritten.
    /// - Returns: `false` for a key of another length or with a coefficient that is not reduced
    ///   (FIPS 203, section 7.2); nothing is written then.
    public static func encapsulate(
        to encapsulationKey: ByteRegion, ciphertext: ByteRegion, into secret: inout Secret32
    ) -> Bool {
        precondition(ciphertext.count == ciphertextCount, "a ciphertext is 1,088 bytes long")
        guard encapsulationKey.count == encapsulationKeyCount,
            let key = unsafe try? MLKEM768.PublicKey(rawRepresentation: encapsulationKey.buffer),
            let result = try? key.encapsulate()
        else { return false }
        ciphertext.copy(bytesOf: result.encapsulated)
        secret.replace(with: result.sharedSecret)
        return true
    }
}

/// An ML-KEM-768 decapsulation key, kept as the 64 bytes that it is derived from.
///
/// Deriving it again takes about 20 µs, once for a key pair of one handshake; until then only the
/// seed is in memory, and is wiped with its owner.
///
/// Source: FIPS 203, sections 3.3 and 7.1.
public final class DecapsulationKey: Sendable {
    /// The seeds d and z.
    private let keySeed: Secret32
    private let rejectionSeed: Secret32

    /// - Parameters:
    ///   - keySeed: 32 random bytes, d.
    ///   - rejectionSeed: 32 more, z.
    public init(keySeed: consuming Secret32, rejectionSeed: consuming Secret32) {
        self.keySeed = keySeed
        self.rejectionSeed = rejectionSeed
    }

    /// Writes the key that others encapsulate to. `ML-KEM.KeyGen_internal`
    ///
    /// - Parameter region: Exactly ``KeyEncapsulation/encapsulationKeyCount`` bytes.
    public func writeEncapsulationKey(to region: ByteRegion) {
        precondition(
            region.count == KeyEncapsulation.encapsulationKeyCount,
            "an encapsulation key is 1,184 bytes long")
        guard let key = derive() else { preconditionFailure("64 bytes are a seed") }
        region.copy(bytesOf: key.publicKey.rawRepresentation)
    }

    /// Recovers the secret of a ciphertext. `ML-KEM.Decaps`
    ///
    /// A ciphertext of the right length that was made for another key, or altered, gives a secret
    /// that nobody else knows, and no error.
    /// - Returns: `false` for another length.
    public func decapsulate(_ ciphertext: ByteRegion, into secret: inout Secret32) -> Bool {
        guard ciphertext.count == KeyEncapsulation.ciphertextCount, let key = derive(),
            let shared = unsafe try? key.decapsulate(ciphertext.buffer)
        else { return false }
        secret.replace(with: shared)
        return true
    }

    /// Lends both seeds, as a handover to another process needs them.
    public func unsafeWithSeeds<Result>(
        _ body: (_ keySeed: ByteRegion, _ rejectionSeed: ByteRegion) -> Result
    ) -> Result {
        keySeed.withBytes { keySeed in rejectionSeed.withBytes { body(keySeed, $0) } }
    }

    private func derive() -> MLKEM768.PrivateKey? {
        unsafe withUnsafeTemporaryAllocation(byteCount: 64, alignment: 16) { buffer in
            guard let start = buffer.baseAddress else { preconditionFailure("no stack memory") }
            defer { unsafe sodium_memzero(start, 64) }
            // Invariant: the region lies within the allocation and does not outlive this closure.
            let seed = unsafe ByteRegion(start: start, count: 64)
            keySeed.withBytes { seed.copy(from: $0) }
            rejectionSeed.withBytes { seed.copy(from: $0, to: 32) }
            return unsafe try? MLKEM768.PrivateKey(
                seedRepresentation: seed.buffer, publicKey: nil)
        }
    }
}

extension ByteRegion {
    /// The bytes as Foundation's protocols take them; valid as long as the region.
    @unsafe fileprivate var buffer: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: unsafeStart, count: count)
    }

    fileprivate func copy(bytesOf bytes: some Collection<UInt8>) {
        precondition(bytes.count == count, "the library has other sizes")
        let copied: Void? = bytes.withContiguousStorageIfAvailable { source in
            unsafe UnsafeMutableRawBufferPointer(start: unsafeStart, count: count)
                .copyMemory(from: UnsafeRawBufferPointer(source))
        }
        precondition(copied != nil, "the library's bytes lie side by side")
    }
}

extension Secret32 {
    fileprivate mutating func replace(with key: SymmetricKey) {
        unsafe key.withUnsafeBytes { source in
            precondition(source.count == Secret32.count, "a shared secret is 32 bytes long")
            withMutableBytes { target in
                for offset in 0..<Secret32.count { unsafe target[offset] = source[offset] }
            }
        }
    }
}
