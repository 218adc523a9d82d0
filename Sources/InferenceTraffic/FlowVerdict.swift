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
    /// Equal for all packets of a flow in one direction, for the scheduler.
    public var flow: UInt32

    @inlinable
    public init(trafficClass: TrafficClass, flow: UInt32) {
        self.trafficClass = trafficClass
        self.flow = flow
    }
}
