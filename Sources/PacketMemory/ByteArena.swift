/// Owned, cache-line-aligned memory that regions are cut from.
///
/// Its contents are unspecified until they are written, and its pages become resident only then.
public final class ByteArena: Sendable {
    /// All of the arena's bytes; valid while the arena lives.
    public let whole: ByteRegion

    /// - Parameter count: Size in bytes, at least 1.
    public init(count: Int) {
        precondition(count > 0, "an arena holds at least one byte")
        // posix_memalign takes large blocks straight from fresh, lazily zeroed mappings; clearing
        // them here would make every page resident.
        let start = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 64)
        unsafe whole = ByteRegion(start: start, count: count)
    }

    deinit {
        unsafe whole.unsafeStart.deallocate()
    }

    /// Runs `body` over a temporary copy of `bytes`.
    public static func withCopy<Result>(
        of bytes: [UInt8], _ body: (ByteRegion) throws -> Result
    ) rethrows -> Result {
        let arena = ByteArena(count: max(bytes.count, 1))
        let region = arena.whole.prefix(bytes.count)
        for (offset, byte) in bytes.enumerated() { region[offset] = byte }
        return try withExtendedLifetime(arena) { try body(region) }
    }
}
