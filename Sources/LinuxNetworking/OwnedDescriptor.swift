import Glibc
import Synchronization

/// A file descriptor that is closed exactly once: by ``close()`` or with its last reference.
final class OwnedDescriptor: Sendable {
    let rawValue: Int32
    private let isClosed = Atomic<Bool>(false)

    init(_ rawValue: Int32) {
        self.rawValue = rawValue
    }

    func close() {
        if !isClosed.exchange(true, ordering: .acquiringAndReleasing) {
            _ = Glibc.close(rawValue)
        }
    }

    deinit {
        close()
    }
}
