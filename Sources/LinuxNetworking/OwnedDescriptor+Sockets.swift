import CLinux
import Glibc
import PacketFormats
import SystemPackage

extension SocketFamily {
    /// The family that reaches an address.
    init(of address: IPAddress) { self = address.isIPv4 ? .ipv4 : .dualStack }
}

extension OwnedDescriptor {
    /// A nonblocking socket. socket
    static func socket(_ family: SocketFamily, _ type: Int32) throws(Errno) -> OwnedDescriptor {
        let flags = Int32(CLINUX_SOCK_CLOEXEC | CLINUX_SOCK_NONBLOCK)
        let created = Glibc.socket(family == .dualStack ? AF_INET6 : AF_INET, type | flags, 0)
        if created < 0 { throw Errno(rawValue: errno) }
        let descriptor = OwnedDescriptor(created)
        if family == .dualStack {
            try descriptor.setOption(Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0)
        }
        return descriptor
    }

    /// Lets packets leave and come by this interface alone. SO_BINDTODEVICE
    func bind(toDevice name: String) throws(Errno) {
        let status = unsafe setsockopt(
            rawValue, SOL_SOCKET, Int32(CLINUX_SO_BINDTODEVICE), name,
            socklen_t(name.utf8.count))
        if status < 0 { throw Errno(rawValue: errno) }
    }

    /// bind
    func bind(_ name: SocketName) throws(Errno) {
        let status = unsafe withAddress(name) { unsafe Glibc.bind(rawValue, $0, $1) }
        if status < 0 { throw Errno(rawValue: errno) }
    }

    /// connect
    func connect(to endpoint: Endpoint, family: SocketFamily) throws(Errno) {
        guard let name = SocketName(endpoint, family: family) else {
            throw .addressFamilyNotSupported
        }
        let status = unsafe withAddress(name) { unsafe Glibc.connect(rawValue, $0, $1) }
        if status < 0 { throw Errno(rawValue: errno) }
    }

    /// What getsockname or getpeername says.
    func endpoint(
        _ ask: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> Endpoint? {
        var name = SocketName(anyAddressOf: .dualStack, port: 0)
        let status = unsafe withUnsafeMutableBytes(of: &name) { bytes in
            var count = socklen_t(bytes.count)
            return unsafe ask(
                rawValue,
                bytes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: sockaddr.self), &count)
        }
        return status < 0 ? nil : name.endpoint
    }

    /// Waits for an event, an error or the other side's end.
    ///
    /// - Parameter deadline: Of the monotonic clock, in nanoseconds.
    /// - Throws: ETIMEDOUT after the deadline. poll
    func awaitEvent(_ events: Int16, until deadline: UInt64) throws(Errno) {
        while true {
            let now = Clock.monotonicNanoseconds()
            let left = deadline > now ? deadline - now : 0
            var waiting = pollfd(fd: rawValue, events: events, revents: 0)
            let milliseconds = Int32(clamping: (left + 999_999) / 1_000_000)
            let count = unsafe poll(&waiting, 1, milliseconds)
            if count > 0 { return }
            if count < 0 && errno != EINTR { throw Errno(rawValue: errno) }
            if left == 0 { throw .timedOut }
        }
    }

    /// Invariant: a ``SocketName`` is laid out as the kernel reads it.
    @unsafe
    private func withAddress(
        _ name: SocketName, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var name = name
        let count = socklen_t(name.count)
        return unsafe withUnsafeBytes(of: &name) { bytes in
            unsafe body(
                bytes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: sockaddr.self), count)
        }
    }
}
