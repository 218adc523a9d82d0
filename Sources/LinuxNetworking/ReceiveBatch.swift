import CLinux
import Glibc
public import PacketFormats
public import PacketMemory

/// Numbered places for received messages, allocated once, and what lies in them.
///
/// A message is one datagram, or with UDP_GRO several of one sender, end to end: all of them
/// ``segmentByteCount(_:)`` long but the last, which may be shorter. Such datagrams share the
/// arrival time of the first and the traffic class of all. They need not be of the same message
/// type: a handshake message that follows transport data may be the shorter last one.
///
/// One thread uses a batch. Accessors take the number of a place that a message was received into,
/// and trap outside of `0..<messageCapacity`.
@safe
public final class ReceiveBatch {
    public let messageCapacity: Int
    /// Longest message that is received whole, in bytes.
    public let bytesPerMessage: Int

    @usableFromInline let arena: ByteArena
    @usableFromInline let stride: Int
    @usableFromInline let arrivals: UnsafeMutablePointer<Arrival>
    @usableFromInline let names: UnsafeMutablePointer<SocketName>
    let headers: UnsafeMutablePointer<clinux_message>
    private let vectors: UnsafeMutablePointer<iovec>
    private let controls: UnsafeMutableRawPointer

    /// What the control messages of one message said.
    @frozen
    @usableFromInline
    struct Arrival {
        @usableFromInline var byteCount = 0
        @usableFromInline var segmentByteCount = 0
        @usableFromInline var nanoseconds: UInt64 = 0
        @usableFromInline var local = LocalAddress(first: 0, second: 0, interfaceIndex: 0)
        @usableFromInline var trafficClass: UInt8 = 0
        @usableFromInline var isTruncated = false
    }

    /// - Parameters:
    ///   - messageCapacity: Places, and so the most messages that one call brings.
    ///   - bytesPerMessage: A UDP payload or a GRO train is at most 65,535 bytes. Pages become
    ///     resident only as messages reach them.
    public init(messageCapacity: Int, bytesPerMessage: Int = 65_536) {
        precondition(messageCapacity > 0 && bytesPerMessage > 0, "a batch holds something")
        self.messageCapacity = messageCapacity
        self.bytesPerMessage = bytesPerMessage
        // Rounded to cache lines, and an odd number of them: buffers that start at multiples of
        // 4 KiB would all compete for the same cache sets.
        stride = ((bytesPerMessage + Self.tailroomByteCount + 63) & ~63) | 64
        arena = ByteArena(count: stride * messageCapacity)
        unsafe arrivals = .allocate(capacity: messageCapacity)
        unsafe names = .allocate(capacity: messageCapacity)
        unsafe headers = .allocate(capacity: messageCapacity)
        unsafe vectors = .allocate(capacity: messageCapacity)
        unsafe controls = .allocate(
            byteCount: messageCapacity * ControlMessages.receivedByteCountMax, alignment: 64)
        unsafe arrivals.initialize(repeating: Arrival(), count: messageCapacity)
        unsafe UnsafeMutableRawPointer(names).initializeMemory(
            as: UInt8.self, repeating: 0,
            count: messageCapacity * MemoryLayout<SocketName>.stride)
        unsafe headers.initialize(repeating: clinux_message(), count: messageCapacity)
        unsafe vectors.initialize(repeating: iovec(), count: messageCapacity)
        for index in 0..<messageCapacity {
            connect(index)
            renew(index)
        }
    }

    deinit {
        unsafe arrivals.deallocate()
        unsafe names.deallocate()
        unsafe headers.deallocate()
        unsafe vectors.deallocate()
        unsafe controls.deallocate()
    }

    /// Exactly the received bytes; the ``tailroomByteCount`` bytes behind them are writable.
    @inlinable @inline(__always)
    public func region(_ index: Int) -> ByteRegion {
        arena.whole.region(at: index &* stride, count: arrival(index).byteCount)
    }

    /// Size of each datagram of the message but the last, in bytes; 0 for a single datagram.
    @inlinable @inline(__always)
    public func segmentByteCount(_ index: Int) -> Int { arrival(index).segmentByteCount }

    /// Sender of the message, an IPv4 address never in its mapped form.
    public func source(_ index: Int) -> Endpoint { name(index).endpoint }

    /// Our address that the message was sent to, `nil` if the kernel did not say.
    public func localAddress(_ index: Int) -> LocalAddress? {
        let local = local(index)
        return local.isUnspecified ? nil : local
    }

    /// The ECN bits of the outer header.
    @inlinable @inline(__always)
    public func outerECN(_ index: Int) -> ECN { ECN(trafficClass: arrival(index).trafficClass) }

    /// DSCP and ECN of the outer header (the IPv4 ToS byte).
    @inlinable @inline(__always)
    public func trafficClass(_ index: Int) -> UInt8 { arrival(index).trafficClass }

    /// When the kernel received the message, on the clock of ``Clock/realtimeNanoseconds()``; 0 if
    /// it did not say.
    @inlinable @inline(__always)
    public func arrivalNanoseconds(_ index: Int) -> UInt64 { arrival(index).nanoseconds }

    /// Whether the message was longer than its buffer; the rest is lost.
    @inlinable @inline(__always)
    public func isTruncated(_ index: Int) -> Bool { arrival(index).isTruncated }

    @inlinable @inline(__always)
    func arrival(_ index: Int) -> Arrival {
        precondition(index >= 0 && index < messageCapacity, "no such message")
        return unsafe arrivals[index]
    }

    @inlinable @inline(__always)
    func name(_ index: Int) -> SocketName {
        precondition(index >= 0 && index < messageCapacity, "no such message")
        return unsafe names[index]
    }

    @inlinable @inline(__always)
    func local(_ index: Int) -> LocalAddress { arrival(index).local }

    /// Writable bytes behind a message of full length.
    public static let tailroomByteCount = 64
}

extension ReceiveBatch {
    /// Points a header at its buffers, once.
    private func connect(_ index: Int) {
        let buffer = arena.whole.region(at: index * stride, count: bytesPerMessage)
        unsafe vectors[index].iov_base = buffer.unsafeStart
        unsafe vectors[index].iov_len = bytesPerMessage
        unsafe headers[index].header.msg_name = UnsafeMutableRawPointer(names + index)
        unsafe headers[index].header.msg_iov = vectors + index
        unsafe headers[index].header.msg_iovlen = 1
        unsafe headers[index].header.msg_control =
            controls + index * ControlMessages.receivedByteCountMax
    }

    /// Gives the kernel back the lengths that it overwrites with every message.
    private func renew(_ index: Int) {
        unsafe headers[index].header.msg_namelen = socklen_t(MemoryLayout<SocketName>.size)
        unsafe headers[index].header.msg_controllen = ControlMessages.receivedByteCountMax
        unsafe headers[index].header.msg_flags = 0
    }

    /// Takes over what the kernel has written to `count` headers from `first` on.
    func finish(first: Int, count: Int) {
        for index in first..<first &+ count {
            let header = unsafe headers + index
            var arrival = Arrival()
            arrival.byteCount = unsafe Int(header.pointee.count)
            arrival.isTruncated =
                unsafe header.pointee.header.msg_flags & Int32(CLINUX_MSG_TRUNC) != 0
            unsafe ControlMessages.read(
                header.pointee.header.msg_control.unsafelyUnwrapped,
                count: min(
                    header.pointee.header.msg_controllen, ControlMessages.receivedByteCountMax),
                into: &arrival)
            unsafe arrivals[index] = arrival
            renew(index)
        }
    }
}
