public import Synchronization

/// A fixed number of 64-bit words that several threads read and write without locks.
///
/// Every access is checked against `count`.
@safe
public final class AtomicWords: @unchecked Sendable {
    // Sendable: the words are only used through atomic operations.
    // Invariant: `base` points at `count` initialised words until deinit, and at nothing else's.
    @usableFromInline let base: UnsafeMutablePointer<Atomic<UInt64>>
    public let count: Int

    /// - Parameter count: At least 1. All words are zero.
    public init(count: Int) {
        precondition(count > 0, "a table holds at least one word")
        unsafe base = UnsafeMutablePointer.allocate(capacity: count)
        for index in 0..<count { unsafe (base + index).initialize(to: Atomic(0)) }
        self.count = count
    }

    deinit {
        unsafe base.deinitialize(count: count)
        unsafe base.deallocate()
    }

    @inlinable @inline(__always)
    public func load(_ index: Int) -> UInt64 {
        check(index)
        return unsafe base[index].load(ordering: .relaxed)
    }

    @inlinable @inline(__always)
    public func store(_ word: UInt64, at index: Int) {
        check(index)
        unsafe base[index].store(word, ordering: .relaxed)
    }

    /// Stores `new` if the word is still `old`.
    /// - Returns: Whether it was.
    @inlinable @inline(__always)
    public func replace(_ old: UInt64, with new: UInt64, at index: Int) -> Bool {
        check(index)
        return unsafe base[index].compareExchange(
            expected: old, desired: new, ordering: .relaxed
        ).exchanged
    }

    @inlinable @inline(__always)
    public func add(_ amount: UInt64, at index: Int) {
        check(index)
        unsafe base[index].wrappingAdd(amount, ordering: .relaxed)
    }

    @inlinable @inline(__always)
    func check(_ index: Int) {
        precondition(index >= 0 && index < count, "words accessed outside their bounds")
    }
}
