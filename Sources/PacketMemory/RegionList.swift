/// A borrowed list of regions that one gathering write takes, in order.
///
/// Whoever lends it says how long it stays valid.
@frozen
@safe
public struct RegionList {
    @usableFromInline let base: UnsafePointer<ByteRegion>
    /// Regions in the list.
    public let count: Int

    /// - Parameter start: First region; stays valid and unchanged while the list is in use.
    @unsafe @inlinable
    public init(start: UnsafePointer<ByteRegion>, count: Int) {
        unsafe base = start
        self.count = count
    }

    /// The list as system calls want it: regions are laid out as `struct iovec`.
    @unsafe @inlinable
    public var unsafeStart: UnsafePointer<ByteRegion> { unsafe base }

    @inlinable
    public subscript(index: Int) -> ByteRegion {
        precondition(index >= 0 && index < count, "no such region")
        return unsafe base[index]
    }
}
