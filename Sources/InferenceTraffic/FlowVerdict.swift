public import PacketFormats

/// Which way a packet goes, seen from the TUN device.
public enum FlowDirection: UInt8, Sendable {
    /// Read from the device: it leaves through the tunnel.
    case outbound
    /// Came through the tunnel: it is written to the device.
    case inbound
}

/// What the flow table says of one packet.
public struct FlowVerdict: Sendable {
    /// The class of the packet's flow in the packet's direction, ceilings applied.
    public var trafficClass: TrafficClass
    /// Of what comes after ``leadingByteCount``, for who cuts a frame into packets.
    public var laterClass: TrafficClass
    /// Payload bytes of the frame that belong to ``trafficClass``; more than any frame has where
    /// all do.
    public var leadingByteCount: Int32
    /// Equal for all packets of a flow in one direction, for the scheduler.
    public var flow: UInt32

    @inlinable
    public init(trafficClass: TrafficClass, flow: UInt32) {
        self.trafficClass = trafficClass
        laterClass = trafficClass
        leadingByteCount = .max
        self.flow = flow
    }
}
