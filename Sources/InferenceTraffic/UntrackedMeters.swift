import PacketFormats

/// What a tunnel sends in one direction that belongs to no flow: all of it together has what one
/// flow would.
struct UntrackedMeters {
    /// Echoes and errors.
    private var messages = RateMeter()
    /// Everything else: fragments, protocols without ports, messages beyond their rate.
    private var others = RateMeter()

    /// The class of a packet that neither policy nor a mark speaks of.
    mutating func trafficClass(of packet: IPPacket, now: UInt64) -> TrafficClass {
        let isMessage = packet.protocol == IPProtocol.icmp || packet.protocol == IPProtocol.icmpv6
        let byteCount = packet.totalCount
        if isMessage, !packet.isFragment, byteCount <= FlowLimits.smallDatagramBytes,
            messages.take(byteCount, burst: FlowLimits.tokenBurstBytes, now: now)
        {
            return .token
        }
        return others.take(byteCount, burst: FlowLimits.promptBytes, now: now) ? .prompt : .bulk
    }
}
