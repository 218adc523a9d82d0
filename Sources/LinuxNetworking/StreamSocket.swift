import CLinux
import Glibc
public import PacketFormats
public import SystemPackage

/// A TCP connection that never leaves one interface and never blocks but where a wait has an end.
///
/// One thread at a time sends and one receives; any thread may abort it.
public final class StreamSocket: Sendable {
    private let descriptor: OwnedDescriptor

    public var fileDescriptor: Int32 { descriptor.rawValue }

    init(_ descriptor: OwnedDescriptor) {
        self.descriptor = descriptor
    }

    /// Begins to connect; ``awaitConnection(until:)`` says how it went.
    ///
    /// - Parameter device: The interface that its packets leave and come by.
    /// - Throws: ENODEV without such an interface. socket, SO_BINDTODEVICE, connect
    public static func connecting(
        to endpoint: Endpoint, device: String
    ) throws(Errno) -> StreamSocket {
        let family = SocketFamily(of: endpoint.address)
        let descriptor = try OwnedDescriptor.socket(family, Int32(CLINUX_SOCK_STREAM))
        try descriptor.bind(toDevice: device)
        do {
            try descriptor.connect(to: endpoint, family: family)
        } catch {
            // EINPROGRESS: the answer takes a while.
            guard error == .nowInProgress else { throw error }
        }
        return StreamSocket(descriptor)
    }

    /// - Parameter deadline: Of the monotonic clock, in nanoseconds.
    /// - Throws: ETIMEDOUT after the deadline, and then may be called again; ECONNREFUSED and so
    ///   on where there will be no connection. poll, SO_ERROR
    public func awaitConnection(until deadline: UInt64) throws(Errno) {
        try descriptor.awaitEvent(Int16(POLLOUT), until: deadline)
        let error = try descriptor.option(SOL_SOCKET, SO_ERROR)
        if error != 0 { throw Errno(rawValue: error) }
        // Each message is a whole: what is small is not to wait for more.
        try descriptor.setOption(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    }

    /// Sends all bytes. send
    ///
    /// - Throws: ETIMEDOUT after the deadline.
    public func sendAll(_ bytes: [UInt8], until deadline: UInt64) throws(Errno) {
        var sent = 0
        while sent < bytes.count {
            let count = send(bytes, from: sent, upTo: bytes.count)
            if count >= 0 {
                sent += count
            } else if count == -Int(EAGAIN) {
                try awaitWritable(until: deadline)
            } else {
                throw Errno(rawValue: Int32(clamping: -count))
            }
        }
    }

    /// Sends what there is room for. send
    ///
    /// - Parameters:
    ///   - start: Bytes before it are left out.
    ///   - end: Bytes from it on are left out, too.
    /// - Returns: Bytes sent, or -errno: -EAGAIN without room.
    public func send(_ bytes: [UInt8], from start: Int = 0, upTo end: Int) -> Int {
        precondition(start >= 0 && start < end && end <= bytes.count, "no such bytes")
        while true {
            let count = unsafe bytes.withUnsafeBytes { bytes in
                unsafe Glibc.send(
                    descriptor.rawValue, bytes.baseAddress.unsafelyUnwrapped + start, end - start,
                    Int32(CLINUX_MSG_NOSIGNAL))
            }
            if count >= 0 { return count }
            if errno != EINTR { return -Int(errno) }
        }
    }

    /// Receives what is there, in place of the first bytes of a buffer. recv
    ///
    /// - Returns: Bytes received, 0 where the other side has ended, or -errno: -EAGAIN without any.
    public func receive(into bytes: inout [UInt8], upTo byteCountMax: Int) -> Int {
        let limit = min(byteCountMax, bytes.count)
        while true {
            let count = unsafe bytes.withUnsafeMutableBytes { bytes in
                unsafe recv(descriptor.rawValue, bytes.baseAddress, limit, 0)
            }
            if count >= 0 { return count }
            if errno != EINTR { return -Int(errno) }
        }
    }

    /// Waits for bytes, the other side's end or an error.
    ///
    /// - Parameter deadline: Of the monotonic clock, in nanoseconds.
    /// - Returns: Whether there is any of them. poll
    public func isReadable(by deadline: UInt64) -> Bool {
        (try? descriptor.awaitEvent(Int16(POLLIN), until: deadline)) != nil
    }

    /// - Throws: ETIMEDOUT after the deadline. poll
    public func awaitWritable(until deadline: UInt64) throws(Errno) {
        try descriptor.awaitEvent(Int16(POLLOUT), until: deadline)
    }

    /// Segments that were sent again so far. TCP_INFO, tcpi_total_retrans
    public var retransmissions: UInt64 {
        var information = tcp_info()
        var count = socklen_t(MemoryLayout<tcp_info>.size)
        let status = unsafe getsockopt(
            descriptor.rawValue, Int32(IPPROTO_TCP), TCP_INFO, &information, &count)
        return status == 0 ? UInt64(information.tcpi_total_retrans) : 0
    }

    /// Our end. getsockname
    public var localEndpoint: Endpoint? { unsafe descriptor.endpoint(getsockname) }

    /// The other end. getpeername
    public var remoteEndpoint: Endpoint? { unsafe descriptor.endpoint(getpeername) }

    /// Ends the connection in both directions, so that whoever waits on it wakes; what was not
    /// sent yet is thrown away once it is closed. shutdown, SO_LINGER
    public func abort() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        _ = unsafe setsockopt(
            descriptor.rawValue, SOL_SOCKET, SO_LINGER, &linger,
            socklen_t(MemoryLayout<Glibc.linger>.size))
        _ = shutdown(descriptor.rawValue, Int32(SHUT_RDWR))
    }

    /// To be called when no other thread uses it any more. close
    public func close() { descriptor.close() }
}

/// Takes TCP connections that come by one interface, and no other.
public final class StreamListener: Sendable {
    private let descriptor: OwnedDescriptor

    public var fileDescriptor: Int32 { descriptor.rawValue }

    /// Listens on all addresses, as packets reach them by the interface.
    ///
    /// - Throws: EADDRINUSE where the port is taken, ENODEV without such an interface, EPERM where
    ///   that needs CAP_NET_RAW, before Linux 5.7. SO_BINDTODEVICE, bind, listen
    public init(port: UInt16, device: String, backlog: Int) throws(Errno) {
        var family = SocketFamily.dualStack
        do {
            descriptor = try .socket(family, Int32(CLINUX_SOCK_STREAM))
        } catch {
            guard error == .addressFamilyNotSupported else { throw error }
            family = .ipv4
            descriptor = try .socket(family, Int32(CLINUX_SOCK_STREAM))
        }
        try descriptor.bind(toDevice: device)
        try descriptor.setOption(SOL_SOCKET, SO_REUSEADDR, 1)
        try descriptor.bind(SocketName(anyAddressOf: family, port: port))
        if listen(descriptor.rawValue, Int32(clamping: backlog)) < 0 {
            throw Errno(rawValue: errno)
        }
    }

    /// - Returns: `nil` where none waits, or the one that did has gone. accept
    public func accept() -> StreamSocket? {
        let accepted = clinux_accept(descriptor.rawValue)
        guard accepted >= 0 else { return nil }
        let connection = OwnedDescriptor(accepted)
        guard (try? connection.setNonblocking()) != nil else { return nil }
        try? connection.setOption(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        return StreamSocket(connection)
    }

    public func close() { descriptor.close() }
}
