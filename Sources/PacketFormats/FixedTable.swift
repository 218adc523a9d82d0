/// A fixed number of records in memory of their own: what arrays in classes are too slow for.
///
/// Made once, at start; every access is checked against `count`.
@safe
public struct FixedTable<Record>: ~Copyable {
    // Invariant: `base` points at `count` initialised records until deinit, and at nothing else's.
    @usableFromInline let base: UnsafeMutablePointer<Record>
    public let count: Int

    @inlinable
    public init(repeating record: Record, count: Int) {
        precondition(count > 0, "a table holds at least one record")
        unsafe base = UnsafeMutablePointer.allocate(capacity: count)
        unsafe base.initialize(repeating: record, count: count)
        self.count = count
    }

    deinit {
        unsafe base.deinitialize(count: count)
        unsafe base.deallocate()
    }

    @inlinable @inline(__always)
    public subscript(index: Int) -> Record {
        get {
            precondition(index >= 0 && index < count, "table accessed outside its bounds")
            return unsafe base[index]
        }
        _modify {
            precondition(index >= 0 && index < count, "table accessed outside its bounds")
            yield unsafe &base[index]
        }
    }

    /// The first `limit` records, valid until one of them changes and while the table lives.
    @unsafe @inlinable
    public func unsafePrefix(_ limit: Int) -> UnsafePointer<Record> {
        precondition(limit >= 0 && limit <= count, "table accessed outside its bounds")
        return unsafe UnsafePointer(base)
    }
}
