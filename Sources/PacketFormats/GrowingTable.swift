/// Up to a fixed number of records, whose memory becomes resident as they are added.
///
/// Made once, at start; adding never allocates, and every access is checked against `count`.
@safe
public struct GrowingTable<Record>: ~Copyable {
    // Invariant: `base` points at room for `capacity` records, the first `count` of them
    // initialised, until deinit, and at nothing else's.
    @usableFromInline let base: UnsafeMutablePointer<Record>
    public let capacity: Int
    /// Records added so far.
    public internal(set) var count = 0

    /// - Parameter capacity: Records that fit, at least 1. Large blocks come from fresh mappings
    ///   whose pages nobody has touched.
    public init(capacity: Int) {
        precondition(capacity > 0, "a table holds at least one record")
        unsafe base = UnsafeMutablePointer.allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit {
        unsafe base.deinitialize(count: count)
        unsafe base.deallocate()
    }

    /// - Returns: The record's index; `nil` if the table is full.
    public mutating func append(_ record: Record) -> Int? {
        guard count < capacity else { return nil }
        unsafe (base + count).initialize(to: record)
        count += 1
        return count - 1
    }

    /// Forgets all records.
    public mutating func removeAll() {
        unsafe base.deinitialize(count: count)
        count = 0
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
}
