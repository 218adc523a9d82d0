import PacketMemory

/// Encrypts and decrypts packets; one per thread.
///
/// Every call is synchronous: when it returns, the source may be overwritten. The destination of
/// a call is the source itself, beginning at the same byte, or overlaps none of it.
public final class PacketCipher {
    public enum Implementation: String, Sendable, CaseIterable {
        /// libipsec-mb, each packet one job that completes at once.
        case multiBufferJob
        /// libipsec-mb through init, update and finalize.
        case multiBufferDirect
        case libsodium
    }

    public static var tagCount: Int { 16 }

    /// What is in use; libsodium where the implementation asked for is not available.
    public let implementation: Implementation
    /// For people, such as "libipsec-mb 1.3.0 job API, AVX512".
    public let summary: String
    private let nonceMemory = ByteArena(count: 64)
    #if arch(x86_64)
    let multiBuffer: MultiBuffer?
    #endif

    public init(_ implementation: Implementation = .fastest()) {
        Sodium.prepare()
        nonceMemory.whole.fill(with: 0)
        #if arch(x86_64)
        multiBuffer =
            switch implementation {
            case .multiBufferJob: MultiBuffer(usesJobs: true)
            case .multiBufferDirect: MultiBuffer(usesJobs: false)
            case .libsodium: nil
            }
        if let multiBuffer {
            self.implementation = implementation
            summary = Self.warning + multiBuffer.summary
            return
        }
        #endif
        self.implementation = .libsodium
        summary = Self.warning + "libsodium \(Sodium.version)"
    }

    /// The benchmark of the null tunnel builds with BRANCHLINE_NULL_CIPHER, which leaves packets
    /// as they are: status says so.
    #if BRANCHLINE_NULL_CIPHER
    private static let warning = "NOTHING IS ENCRYPTED in this benchmark build; unused: "
    #else
    private static let warning = ""
    #endif

    /// The nonce 0 ‖ LE64(`counter`), valid until the next nonce is made.
    @inline(__always)
    func littleEndianNonce(_ counter: UInt64) -> ByteRegion {
        let nonce = nonceMemory.whole.prefix(12)
        nonce.storeLittleEndian(counter, at: 4)
        return nonce
    }

    /// The nonce 0 ‖ BE64(`counter`), valid until the next nonce is made.
    @inline(__always)
    func bigEndianNonce(_ counter: UInt64) -> ByteRegion {
        let nonce = nonceMemory.whole.prefix(12)
        nonce.storeBigEndian(counter, at: 4)
        return nonce
    }

    /// The parts of an encrypted packet, and where its plaintext goes; `nil` if it is too short to
    /// have a tag.
    @inline(__always)
    func split(
        _ input: ByteRegion, _ destination: ByteRegion
    ) -> (ciphertext: ByteRegion, tag: ByteRegion, output: ByteRegion)? {
        let count = input.count &- Self.tagCount
        guard count >= 0 else { return nil }
        return (
            input.prefix(count), input.region(at: count, count: Self.tagCount),
            destination.prefix(count)
        )
    }

    /// The implementation that is fastest on this machine; decided once.
    ///
    /// Nanoseconds to seal a packet, measured on one Zen 4 core with libipsec-mb 1.3.0 restricted
    /// to each instruction set (libsodium 1.0.18 with AVX2 beside it):
    ///
    ///     bytes    job: AVX512  AVX2   AVX   SSE   direct: AVX512  AVX2   AVX   SSE   libsodium
    ///        64            149   226   242   145              237   218   217   218         290
    ///       576            300   532   699   574              380   493   677   645         634
    ///      1420            500   949  1527  1272              590   940  1566  1370        1410
    ///
    /// No packet size changes the order by more than a few percent, so there is no threshold.
    /// Bursts of 16 jobs cost 497 ns a packet of 1420 bytes and 150-180 ns one of 64: the library
    /// does not process this algorithm's packets side by side, so there is no batch form.
    public static func fastest() -> Implementation { fastestHere }

    private static let fastestHere: Implementation = {
        #if arch(x86_64)
        let usesJobs = MultiBuffer.prefersJobs
        if MultiBuffer(usesJobs: usesJobs) != nil {
            return usesJobs ? .multiBufferJob : .multiBufferDirect
        }
        #endif
        return .libsodium
    }()
}

extension PacketCipher.Implementation {
    public static func fastest() -> PacketCipher.Implementation { PacketCipher.fastest() }
}
