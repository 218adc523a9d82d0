import Glibc
import Synchronization
import SystemPackage

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

    /// Makes it nonblocking, and closed when another program takes the process over. fcntl(2)
    func setNonblocking() throws(Errno) {
        let status = fcntl(rawValue, F_GETFL)
        if status < 0 || fcntl(rawValue, F_SETFL, status | O_NONBLOCK) < 0
            || fcntl(rawValue, F_SETFD, FD_CLOEXEC) < 0
        {
            throw Errno(rawValue: errno)
        }
    }

    deinit {
        close()
    }
}
