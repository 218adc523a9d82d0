import PacketFormats
import PacketMemory

/// What tells a flow from others: its two ends as this side of the tunnel sees them.
///
/// The local end sends what leaves and receives what comes in, so both directions have one key. A
/// packet that a gateway hands from one peer to another comes by twice, as two flows: one with each
/// peer.
struct FlowKey: BitwiseCopyable {
    var localHigh: UInt64
    var localLow: UInt64
    var remoteHigh: UInt64
    var remoteLow: UInt64
    var localPort: UInt16
    var remotePort: UInt16
    var protocolNumber: UInt8
    var isIPv4: Bool
    var tunnel: Int32

    /// - Parameter packet: With four bytes of transport at least.
    @inline(__always)
    init(_ packet: IPPacket, _ direction: FlowDirection, tunnel: Int32) {
        let bytes = packet.region
        let ports = bytes.bigEndian32(at: packet.transportOffset)
        let source = UInt16(truncatingIfNeeded: ports >> 16)
        let destination = UInt16(truncatingIfNeeded: ports)
        let isOutbound = direction == .outbound
        if packet.version == 4 {
            let from = UInt64(bytes.bigEndian32(at: IPv4Field.source))
            let to = UInt64(bytes.bigEndian32(at: IPv4Field.destination))
            localHigh = 0
            remoteHigh = 0
            localLow = isOutbound ? from : to
            remoteLow = isOutbound ? to : from
            isIPv4 = true
        } else {
            localHigh = isOutbound ? packet.sourceHigh : packet.destinationHigh
            localLow = isOutbound ? packet.sourceLow : packet.destinationLow
            remoteHigh = isOutbound ? packet.destinationHigh : packet.sourceHigh
            remoteLow = isOutbound ? packet.destinationLow : packet.sourceLow
            isIPv4 = false
        }
        localPort = isOutbound ? source : destination
        remotePort = isOutbound ? destination : source
        protocolNumber = packet.protocol
        self.tunnel = tunnel
    }

    /// The addresses of what has no ports, or of a piece: of no transport that has any.
    init(untracked packet: IPPacket, _ direction: FlowDirection) {
        let isOutbound = direction == .outbound
        let local = isOutbound ? packet.source : packet.destination
        let remote = isOutbound ? packet.destination : packet.source
        localHigh = local.high
        localLow = local.low
        remoteHigh = remote.high
        remoteLow = remote.low
        localPort = 0
        remotePort = 0
        protocolNumber = IPProtocol.noNextHeader
        isIPv4 = local.isIPv4
        tunnel = 0
    }

    @inline(__always)
    static func == (left: FlowKey, right: FlowKey) -> Bool {
        left.localLow == right.localLow && left.remoteLow == right.remoteLow
            && left.localPort == right.localPort && left.remotePort == right.remotePort
            && left.protocolNumber == right.protocolNumber && left.tunnel == right.tunnel
            && left.isIPv4 == right.isIPv4 && left.localHigh == right.localHigh
            && left.remoteHigh == right.remoteHigh
    }

    @inline(__always)
    func hash(_ seed: (UInt64, UInt64)) -> UInt64 {
        var sip = SipHash(seed)
        if isIPv4 {
            sip.add(localLow << 32 | remoteLow)
        } else {
            sip.add(localHigh)
            sip.add(localLow)
            sip.add(remoteHigh)
            sip.add(remoteLow)
        }
        sip.add(UInt64(localPort) << 48 | UInt64(remotePort) << 32
            | UInt64(UInt32(bitPattern: tunnel) & 0xff_ffff) << 8 | UInt64(protocolNumber))
        return sip.finish()
    }

    var local: IPAddress {
        isIPv4
            ? IPAddress(ipv4: UInt32(truncatingIfNeeded: localLow))
            : IPAddress(high: localHigh, low: localLow)
    }
    var remote: IPAddress {
        isIPv4
            ? IPAddress(ipv4: UInt32(truncatingIfNeeded: remoteLow))
            : IPAddress(high: remoteHigh, low: remoteLow)
    }
}
