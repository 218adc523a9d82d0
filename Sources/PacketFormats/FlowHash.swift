public import PacketMemory

/// A number that is equal for packets of one flow and spreads flows evenly.
///
/// Flows are told apart by addresses, protocol and ports; the fragments of one packet by addresses
/// and identification, so that they stay together. Anything that is not IP hashes to one value.
/// - Parameter packet: Any bytes.
/// - Parameter seed: A secret number keeps outsiders from choosing packets that collide
///   (RFC 8290, section 4.1.2).
public func flowHash(of packet: ByteRegion, seed: UInt32 = 0) -> UInt32 {
    guard let view = IPPacket(packet) else { return seed }
    return flowHash(of: view, seed: seed)
}

/// As for its bytes, of a packet that has been looked at already.
public func flowHash(of view: IPPacket, seed: UInt32 = 0) -> UInt32 {
    var hash = UInt64(seed) << 8 | UInt64(view.protocol)
    if view.version == 4 {
        hash = FlowMixer.mix(
            hash, UInt64(view.sourceIPv4) << 32 | UInt64(view.destinationIPv4))
    } else {
        hash = FlowMixer.mix(hash, view.sourceHigh)
        hash = FlowMixer.mix(hash, view.sourceLow)
        hash = FlowMixer.mix(hash, view.destinationHigh)
        hash = FlowMixer.mix(hash, view.destinationLow)
    }
    return FlowMixer.finish(FlowMixer.mix(hash, flowDetail(of: view)))
}

/// Ports, or what identifies a packet in pieces, or nothing.
private func flowDetail(of packet: IPPacket) -> UInt64 {
    if packet.isFragment {
        // Bit 32 keeps identifications apart from ports.
        return 1 << 32 | UInt64(packet.fragmentIdentification)
    }
    switch packet.protocol {
    case IPProtocol.tcp, IPProtocol.udp, IPProtocol.sctp, IPProtocol.dccp, IPProtocol.udpLite:
        let transport = packet.transport
        return transport.count >= 4 ? UInt64(transport.bigEndian32(at: 0)) : 0
    default:
        return 0
    }
}

/// Multiply and shift: cheap, and good enough for tables that hold at worst badly placed flows.
enum FlowMixer {
    @inline(__always)
    static func mix(_ hash: UInt64, _ word: UInt64) -> UInt64 {
        let product = (hash ^ word).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
        return product.high ^ product.low &+ 0x85eb_ca77_c2b2_ae63
    }

    @inline(__always)
    static func finish(_ hash: UInt64) -> UInt32 {
        let product = hash &* 0xc2b2_ae3d_27d4_eb4f
        return UInt32(truncatingIfNeeded: product >> 32)
    }
}
