import CLinux
import Glibc
public import PacketMemory
public import SystemPackage

/// One bound, nonblocking UDP socket.
///
/// Any thread may send; one thread at a time receives.
public final class UDPSocket: Sendable {
    public let family: SocketFamily
    private let descriptor: OwnedDescriptor

    public var fileDescriptor: Int32 { descriptor.rawValue }

    init(_ descriptor: OwnedDescriptor, family: SocketFamily) {
        self.descriptor = descriptor
        self.family = family
    }

    /// Receives what is there, without waiting, in place of what the batch held there.
    ///
    /// - Parameters:
    ///   - first: Place of the first message; the others take those that follow.
    ///   - limit: Most messages to take, at most the places from `first` on.
    /// - Returns: Number of messages, or -errno: -EAGAIN when there are none. recvmmsg
    public func receive(_ batch: ReceiveBatch, at first: Int = 0, limit: Int) -> Int {
        precondition(first >= 0 && first < batch.messageCapacity, "no such place")
        let limit = UInt32(clamping: min(limit, batch.messageCapacity &- first))
        var count = -Int(EINTR)
        while count == -Int(EINTR) {
            count = Int(
                unsafe clinux_recvmmsg(descriptor.rawValue, batch.headers + first, limit))
        }
        if count > 0 { batch.finish(first: first, count: count) }
        return count
    }

    /// Sends one message at once, without a batch; for handshakes and keepalives.
    ///
    /// A run that cannot be segmented is sent in pieces. A source address that the kernel refuses
    /// is an error here.
    /// - Parameters:
    ///   - segmentByteCount: As in ``SendBatch``.
    ///   - trafficClass: DSCP and ECN of the outer header.
    /// - Returns: Bytes sent, or -errno. sendmsg
    public func send(
        _ region: ByteRegion, segmentByteCount: Int = 0, to destination: borrowing Destination,
        trafficClass: UInt8 = 0
    ) -> Int {
        let segment =
            segmentByteCount > 0 && segmentByteCount < region.count ? segmentByteCount : 0
        let sent = sendOne(region, segment, destination, trafficClass)
        if sent >= 0 || segment == 0 || !Self.isSegmentationFault(Int32(-sent)) { return sent }
        var offset = 0
        while offset < region.count {
            let piece = region.region(at: offset, count: min(segment, region.count &- offset))
            let sent = sendOne(piece, 0, destination, trafficClass)
            if sent < 0 { return offset > 0 ? offset : sent }
            offset &+= piece.count
        }
        return offset
    }

    private func sendOne(
        _ region: ByteRegion, _ segmentByteCount: Int, _ destination: borrowing Destination,
        _ trafficClass: UInt8
    ) -> Int {
        let target = destination.name
        var name = target
        var region = region
        let source = destination.local
        // On the stack: small enough never to reach the heap.
        return unsafe withUnsafeTemporaryAllocation(
            byteCount: ControlMessages.sentByteCountMax, alignment: 8
        ) { control in
            unsafe withUnsafeMutableBytes(of: &name) { nameBytes in
                unsafe withUnsafeMutableBytes(of: &region) { regionBytes in
                    let start = unsafe control.baseAddress.unsafelyUnwrapped
                    var message = unsafe msghdr()
                    unsafe message.msg_name = nameBytes.baseAddress
                    unsafe message.msg_namelen = socklen_t(target.count)
                    // ByteRegion has the layout of iovec.
                    unsafe message.msg_iov = regionBytes.baseAddress.unsafelyUnwrapped
                        .assumingMemoryBound(to: iovec.self)
                    unsafe message.msg_iovlen = 1
                    unsafe message.msg_controllen = ControlMessages.write(
                        into: start, name: target, trafficClass: trafficClass,
                        source: source, segmentByteCount: segmentByteCount)
                    unsafe message.msg_control = message.msg_controllen > 0 ? start : nil
                    var sent = unsafe clinux_sendmsg(descriptor.rawValue, &message)
                    while sent == -Int(EINTR) {
                        sent = unsafe clinux_sendmsg(descriptor.rawValue, &message)
                    }
                    return sent
                }
            }
        }
    }

    /// Whether the result of ``send(_:segmentByteCount:to:trafficClass:)`` says that a datagram
    /// without fragmentation is longer than the device takes.
    public static func isTooLong(_ result: Int) -> Bool { result == -Int(EMSGSIZE) }

    /// Whether a run may go through in pieces: the device cannot compute checksums (EIO), a
    /// datagram exceeds the path's MTU (EMSGSIZE, EINVAL on older kernels), or there are more
    /// segments than the kernel knows (EINVAL).
    static func isSegmentationFault(_ error: Int32) -> Bool {
        error == EIO || error == EINVAL || error == EMSGSIZE
    }

    /// Whether leaving out the source address may help: it is no longer ours, or has no route.
    static func isSourceFault(_ error: Int32) -> Bool {
        error == EINVAL || error == ENETUNREACH || error == EADDRNOTAVAIL || error == ENODEV
            || error == EHOSTUNREACH
    }

    /// Closes the socket; it leaves its group. close
    public func close() {
        descriptor.close()
    }
}

// MARK: - Settings and counters

extension UDPSocket {
    /// Sets how much the kernel may hold for this socket, as it counts memory (about twice the
    /// payload), beyond net.core.rmem_max where privileged.
    /// - Returns: The size that the kernel chose, in bytes. SO_RCVBUFFORCE, SO_RCVBUF
    @discardableResult
    public func setReceiveBuffer(byteCount: Int) throws(Errno) -> Int {
        try setBuffer(Int32(CLINUX_SO_RCVBUFFORCE), SO_RCVBUF, byteCount)
    }

    /// - Returns: The size that the kernel chose, in bytes. SO_SNDBUFFORCE, SO_SNDBUF
    @discardableResult
    public func setSendBuffer(byteCount: Int) throws(Errno) -> Int {
        try setBuffer(Int32(CLINUX_SO_SNDBUFFORCE), SO_SNDBUF, byteCount)
    }

    /// Whether datagrams leave with Don't Fragment, whatever the kernel believes of the path, or
    /// may be cut in two. A kernel that refuses leaves it as it is.
    /// IP_MTU_DISCOVER, IPV6_MTU_DISCOVER
    public func setDontFragment(_ isSet: Bool) {
        try? descriptor.setOption(
            Int32(IPPROTO_IP), IP_MTU_DISCOVER, isSet ? IP_PMTUDISC_PROBE : Self.fragmentable4)
        guard family == .dualStack else { return }
        try? descriptor.setOption(
            Int32(IPPROTO_IPV6), IPV6_MTU_DISCOVER,
            isSet ? IPV6_PMTUDISC_PROBE : Self.fragmentable6)
    }

    /// Without Don't Fragment, and deaf to what ICMP says of the path, which anybody can forge: a
    /// router may cut what is too long for it, and nobody makes us cut it here.
    static let fragmentable4 = IP_PMTUDISC_OMIT
    /// No router cuts IPv6: what is too long leaves this machine in pieces as large as ICMP allows,
    /// or not at all.
    static let fragmentable6 = IPV6_PMTUDISC_DONT

    /// Marks what the socket sends, for routing rules; 0 for no mark. Needs CAP_NET_ADMIN. SO_MARK
    public func setFirewallMark(_ mark: UInt32) throws(Errno) {
        try descriptor.setOption(
            SOL_SOCKET, Int32(CLINUX_SO_MARK), Int32(bitPattern: mark))
    }

    /// The mark of what the socket sends; 0 for no mark. SO_MARK
    func firewallMark() throws(Errno) -> UInt32 {
        UInt32(bitPattern: try descriptor.option(SOL_SOCKET, Int32(CLINUX_SO_MARK)))
    }

    /// Messages that the kernel has dropped because the receive buffer was full (or a checksum was
    /// wrong), since the socket was opened; wraps at 2^32. `nil` before Linux 4.12.
    /// SO_MEMINFO, SK_MEMINFO_DROPS
    public var receiveQueueOverflows: UInt32? { memoryInfo(Int(CLINUX_SK_MEMINFO_DROPS)) }

    /// Memory of the messages that wait to be received, in bytes as the kernel counts it: about
    /// twice their payload. `nil` before Linux 4.12. SO_MEMINFO, SK_MEMINFO_RMEM_ALLOC
    public var waitingByteCount: Int? {
        memoryInfo(Int(CLINUX_SK_MEMINFO_RMEM_ALLOC)).map { Int($0) }
    }

    private func memoryInfo(_ index: Int) -> UInt32? {
        var values = (UInt64(0), UInt64(0), UInt64(0), UInt64(0), UInt64(0))
        return unsafe withUnsafeMutableBytes(of: &values) { bytes -> UInt32? in
            var count = socklen_t(bytes.count)
            let status = unsafe getsockopt(
                descriptor.rawValue, SOL_SOCKET, Int32(CLINUX_SO_MEMINFO),
                bytes.baseAddress, &count)
            let offset = index * MemoryLayout<UInt32>.size
            guard status == 0, Int(count) >= offset + MemoryLayout<UInt32>.size else { return nil }
            return unsafe bytes.load(fromByteOffset: offset, as: UInt32.self)
        }
    }

    private func setBuffer(
        _ forced: Int32, _ ordinary: Int32, _ byteCount: Int
    ) throws(Errno) -> Int {
        // The kernel doubles what it is told, to account for its own bookkeeping.
        let half = Int32(clamping: byteCount / 2)
        do {
            try descriptor.setOption(SOL_SOCKET, forced, half)
        } catch {
            try descriptor.setOption(SOL_SOCKET, ordinary, half)
        }
        return Int(try descriptor.option(SOL_SOCKET, ordinary))
    }
}

extension OwnedDescriptor {
    /// setsockopt with an int.
    func setOption(_ level: Int32, _ name: Int32, _ value: Int32) throws(Errno) {
        var value = value
        let status = unsafe setsockopt(
            rawValue, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
        if status < 0 { throw Errno(rawValue: errno) }
    }

    /// getsockopt with an int.
    func option(_ level: Int32, _ name: Int32) throws(Errno) -> Int32 {
        var value: Int32 = 0
        var count = socklen_t(MemoryLayout<Int32>.size)
        if unsafe getsockopt(rawValue, level, name, &value, &count) < 0 {
            throw Errno(rawValue: errno)
        }
        return value
    }
}
