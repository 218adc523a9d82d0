import CLinux
import Glibc
public import SystemPackage

/// The client's side of a Unix stream socket: one request, one answer.
public final class UnixSocket: Sendable {
    private let descriptor: OwnedDescriptor

    public var fileDescriptor: Int32 { descriptor.rawValue }

    /// Takes over a connected descriptor, such as one that a listener accepted.
    public init(adopting fileDescriptor: Int32) {
        descriptor = OwnedDescriptor(fileDescriptor)
    }

    /// - Throws: ENOENT when there is no such socket, ECONNREFUSED when nobody listens. connect
    public static func connect(_ path: String) throws(Errno) -> UnixSocket {
        let created = socket(AF_UNIX, Int32(CLINUX_SOCK_STREAM | CLINUX_SOCK_CLOEXEC), 0)
        if created < 0 { throw Errno(rawValue: errno) }
        let connection = UnixSocket(adopting: created)
        var address = try unixAddress(path)
        let status = unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.connect(created, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        if status < 0 { throw Errno(rawValue: errno) }
        return connection
    }

    /// Sends all of `bytes`. send
    public func send(_ bytes: [UInt8]) throws(Errno) {
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.send(
                    descriptor.rawValue, $0.baseAddress.unsafelyUnwrapped + sent,
                    $0.count - sent, Int32(CLINUX_MSG_NOSIGNAL))
            }
            if count >= 0 {
                sent += count
            } else if errno == EAGAIN {
                try awaitEvent(Int16(POLLOUT), until: nil)
            } else if errno != EINTR {
                throw Errno(rawValue: errno)
            }
        }
    }

    /// Says that nothing more will be sent. shutdown
    public func finishSending() throws(Errno) {
        if shutdown(descriptor.rawValue, Int32(SHUT_WR)) < 0 { throw Errno(rawValue: errno) }
    }

    /// Reads until the other side closes.
    ///
    /// - Parameters:
    ///   - timeoutNanoseconds: For the whole answer.
    ///   - byteCountMax: An answer longer than this is an error.
    /// - Throws: ETIMEDOUT after the timeout, EMSGSIZE beyond the limit. recv
    public func readToEnd(
        timeoutNanoseconds: UInt64, byteCountMax: Int = 64 << 20
    ) throws(Errno) -> [UInt8] {
        let deadline = Clock.monotonicNanoseconds() &+ timeoutNanoseconds
        var answer: [UInt8] = []
        // In one piece of memory, as the answer may hold keys; only pages that are written to
        // take any.
        answer.reserveCapacity(byteCountMax + Self.byteCountPerRead)
        while true {
            try awaitEvent(Int16(POLLIN), until: deadline)
            let count = unsafe answer.appendRead(upTo: Self.byteCountPerRead) {
                unsafe recv(descriptor.rawValue, $0.baseAddress, $0.count, 0)
            }
            if count == 0 { return answer }
            if count < 0 && errno != EINTR && errno != EAGAIN { throw Errno(rawValue: errno) }
            if answer.count > byteCountMax { throw .messageTooLong }
        }
    }

    private static let byteCountPerRead = 65_536

    public func close() {
        descriptor.close()
    }

    /// Waits for `events` until the monotonic time `deadline`.
    func awaitEvent(_ events: Int16, until deadline: UInt64?) throws(Errno) {
        while true {
            var milliseconds: Int32 = -1
            if let deadline {
                let now = Clock.monotonicNanoseconds()
                if now >= deadline { throw .timedOut }
                milliseconds = Int32(clamping: (deadline - now + 999_999) / 1_000_000)
            }
            var waiting = pollfd(fd: descriptor.rawValue, events: events, revents: 0)
            let count = unsafe poll(&waiting, 1, milliseconds)
            if count > 0 { return }
            if count < 0 && errno != EINTR { throw Errno(rawValue: errno) }
        }
    }
}

/// `path` as a socket address.
/// - Throws: ENAMETOOLONG beyond 107 bytes, EINVAL when empty.
func unixAddress(_ path: String) throws(Errno) -> sockaddr_un {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    if bytes.isEmpty { throw .invalidArgument }
    let fits = unsafe withUnsafeMutableBytes(of: &address.sun_path) { destination in
        if bytes.count >= destination.count { return false }
        unsafe destination.copyBytes(from: bytes)
        return true
    }
    if !fits { throw .fileNameTooLong }
    return address
}
