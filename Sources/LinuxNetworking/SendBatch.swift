import CLinux
import Glibc
public import PacketMemory

/// Messages that are waiting for one sendmmsg call, in memory allocated once.
///
/// A message is one datagram, or with UDP_SEGMENT a run of equal ones to the same destination. The
/// bytes are borrowed until ``flush(on:)`` has taken the message.
///
/// Where segmentation fails, the batch sends the datagrams of a run one by one: for a single
/// message when its datagrams exceed the MTU of the path (then the kernel fragments them) or are
/// too many for an older kernel, for all further messages when the device cannot do it
/// (``isSegmentationDisabled``).
///
/// One thread uses a batch.
@safe
public final class SendBatch {
    public let capacity: Int

    let state: UnsafeMutablePointer<State>
    let entries: UnsafeMutablePointer<Entry>
    let incidents: UnsafeMutablePointer<SendIncident>
    /// Laid out as struct iovec.
    let regions: UnsafeMutablePointer<ByteRegion>
    let headers: UnsafeMutablePointer<clinux_message>
    let names: UnsafeMutablePointer<SocketName>
    let controls: UnsafeMutableRawPointer
    /// For the datagrams of a run that are sent one by one.
    let splitHeaders: UnsafeMutablePointer<clinux_message>
    let splitRegions: UnsafeMutablePointer<ByteRegion>

    /// What changes, kept out of the class so that writing it costs no exclusivity check.
    struct State {
        /// First message that is still to be sent.
        var first = 0
        var end = 0
        var incidentCount = 0
        var segmentationError: Int32 = 0
    }

    /// What a message was appended with.
    struct Entry {
        var segmentByteCount: Int32
        var trafficClass: UInt8
        var hasSource: Bool
        var isSplit: Bool
    }

    /// - Parameter capacity: Most messages; at most 1024 (UIO_MAXIOV) go in one system call.
    public init(capacity: Int) {
        precondition(capacity > 0 && capacity <= 1024, "a batch holds 1...1024 messages")
        self.capacity = capacity
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: State())
        unsafe entries = .allocate(capacity: capacity)
        unsafe incidents = .allocate(capacity: capacity)
        unsafe regions = .allocate(capacity: capacity)
        unsafe headers = .allocate(capacity: capacity)
        unsafe names = .allocate(capacity: capacity)
        unsafe controls = .allocate(
            byteCount: capacity * ControlMessages.sentByteCountMax, alignment: 64)
        unsafe splitHeaders = .allocate(capacity: Self.splitCapacity)
        unsafe splitRegions = .allocate(capacity: Self.splitCapacity)
        unsafe headers.initialize(repeating: clinux_message(), count: capacity)
        unsafe splitHeaders.initialize(repeating: clinux_message(), count: Self.splitCapacity)
        for index in 0..<capacity {
            unsafe headers[index].header.msg_name = UnsafeMutableRawPointer(names + index)
            unsafe headers[index].header.msg_iov =
                UnsafeMutableRawPointer(regions + index).assumingMemoryBound(to: iovec.self)
            unsafe headers[index].header.msg_iovlen = 1
        }
        for index in 0..<Self.splitCapacity {
            unsafe splitHeaders[index].header.msg_iov =
                UnsafeMutableRawPointer(splitRegions + index).assumingMemoryBound(to: iovec.self)
            unsafe splitHeaders[index].header.msg_iovlen = 1
        }
    }

    deinit {
        unsafe state.deallocate()
        unsafe entries.deallocate()
        unsafe incidents.deallocate()
        unsafe regions.deallocate()
        unsafe headers.deallocate()
        unsafe names.deallocate()
        unsafe controls.deallocate()
        unsafe splitHeaders.deallocate()
        unsafe splitRegions.deallocate()
    }

    /// Messages still to be sent.
    public var count: Int { unsafe state.pointee.end &- state.pointee.first }

    /// Whether a device has refused UDP_SEGMENT altogether, so that every run is sent in pieces.
    public var isSegmentationDisabled: Bool { unsafe state.pointee.segmentationError != 0 }

    /// The errno of that refusal, 0 without one.
    public var segmentationError: Int32 { unsafe state.pointee.segmentationError }

    /// Sends every further run in pieces, as where the kernel lacks UDP_SEGMENT.
    public func disableSegmentation(error: Int32) {
        unsafe state.pointee.segmentationError = error
    }

    /// Adds one message.
    ///
    /// - Parameters:
    ///   - region: 0...65,507 bytes; with `segmentByteCount` at most
    ///     ``UDPOffloads/segmentCountMax`` datagrams. A longer one fails with an incident.
    ///   - segmentByteCount: Size of each datagram but the last; 0, or at least the region's size,
    ///     for a single one.
    ///   - trafficClass: DSCP and ECN of the outer header.
    /// - Returns: `false` when the batch is full: flush first.
    public func append(
        region: ByteRegion, segmentByteCount: Int, to destination: borrowing Destination,
        trafficClass: UInt8
    ) -> Bool {
        let index = unsafe state.pointee.end
        if index >= capacity { return false }
        let segment =
            segmentByteCount > 0 && segmentByteCount < region.count ? segmentByteCount : 0
        let control = unsafe controls + index &* ControlMessages.sentByteCountMax
        let controlCount = unsafe ControlMessages.write(
            into: control, name: destination.name, trafficClass: trafficClass,
            source: destination.local, segmentByteCount: segment)
        unsafe names[index] = destination.name
        unsafe regions[index] = region
        unsafe entries[index] = Entry(
            segmentByteCount: Int32(truncatingIfNeeded: segment), trafficClass: trafficClass,
            hasSource: !destination.local.isUnspecified, isSplit: false)
        unsafe headers[index].header.msg_namelen = socklen_t(destination.name.count)
        unsafe headers[index].header.msg_control = controlCount > 0 ? control : nil
        unsafe headers[index].header.msg_controllen = controlCount
        unsafe state.pointee.end = index &+ 1
        return true
    }

    /// Forgets all messages, sent or not.
    public func removeAll() {
        unsafe state.pointee.first = 0
        unsafe state.pointee.end = 0
    }

    /// What went wrong in the latest flush.
    public var incidentCount: Int { unsafe state.pointee.incidentCount }

    public func incident(_ index: Int) -> SendIncident {
        precondition(index >= 0 && index < incidentCount, "no such incident")
        return unsafe incidents[index]
    }

    static let splitCapacity = 64
}

/// A message that could not be sent as it was asked for.
public struct SendIncident: Sendable {
    /// Position among the messages appended since the batch was last empty.
    public let message: Int
    /// Datagrams of the message that were still to be sent.
    public let datagramCount: Int
    public let errno: Int32
    /// Whether the message left after all, without the source address that the kernel refused: the
    /// destination should forget its source.
    public let isSentWithoutSource: Bool
}
