public import Synchronization

/// A name for each counter of a ``CounterSet``: an enum whose raw values are 0, 1, 2 and so on.
public protocol CounterKey: RawRepresentable<Int>, CaseIterable, Sendable {
    /// Name in status output and metrics, in snake case.
    var name: String { get }
}

/// One thread's event counters, which any thread may read.
///
/// Counters only grow, and wrap after 2^64 events. A reader sees each counter whole; two counters
/// read one after the other may belong to different moments.
public final class CounterSet<Key: CounterKey>: Sendable {
    /// More than any key type has cases; unused counters cost eight bytes each. Elements are only
    /// used through atomic operations, which the optimiser leaves where they are.
    @usableFromInline let counters: InlineArray<64, Atomic<UInt64>>

    public init() {
        precondition(Key.allCases.count <= 64, "a counter set has room for 64 counters")
        counters = InlineArray { _ in Atomic(0) }
    }

    /// Adds `amount` events.
    @inlinable @inline(__always)
    public func add(_ key: Key, _ amount: Int = 1) {
        counters[key.rawValue].wrappingAdd(
            UInt64(truncatingIfNeeded: amount), ordering: .relaxed)
    }

    public subscript(key: Key) -> UInt64 {
        counters[key.rawValue].load(ordering: .relaxed)
    }

    /// The sum of one counter over the sets of several threads.
    public static func total(of key: Key, in sets: [CounterSet<Key>]) -> UInt64 {
        sets.reduce(0) { $0 &+ $1[key] }
    }
}
