import Synchronization

/// Payload that was sent and received so far, and its limit.
final class ByteBudget: Sendable {
    private let spent = Atomic<Int>(0)
    let bytesMax: Int

    init(bytesMax: Int) {
        self.bytesMax = bytesMax
    }

    var bytes: Int { spent.load(ordering: .relaxed) }
    var isSpent: Bool { bytes >= bytesMax }

    func add(_ count: Int) { spent.add(count, ordering: .relaxed) }
}
