import PacketFormats
import PacketMemory

@testable import InferenceTraffic

/// A flow table, a clock and a place where packets are built: what stands at the TUN device.
struct Tap: ~Copyable {
    var table: FlowTable
    var rules = ClassRules()
    var ceiling = TrafficClass.control
    var now: UInt64 = 1_000_000_000_000
    private let arena = ByteArena(count: 65_536)

    init(capacity: Int = 1_024) {
        table = FlowTable(capacity: capacity, seed: (1, 2))
    }

    deinit {}

    mutating func wait(_ milliseconds: Double) { now += UInt64(milliseconds * 1_000_000) }

    /// Writes a packet without checksums, which nobody looks at here, and lets it be observed.
    mutating func pass(
        _ packet: TapPacket, _ payload: [UInt8], direction: FlowDirection, tunnel: Int = 0,
        peer: Int32 = 7
    ) -> FlowVerdict {
        let region = packet.write(payload, to: arena.whole)
        guard let view = IPPacket(region) else { fatalError("not a packet") }
        return table.observe(
            view, segmentByteCount: packet.segmentByteCount, direction: direction,
            tunnel: tunnel, peer: peer, ceiling: ceiling, rules: rules, now: now)
    }
}

struct TapPacket {
    var source: UInt32
    var destination: UInt32
    var sourcePort: UInt16
    var destinationPort: UInt16
    var protocolNumber: UInt8 = 6
    var sequence: UInt32 = 0
    var acknowledgment: UInt32 = 0
    var flags: UInt8 = TCPField.ack
    var window: UInt16 = 500
    var trafficClass: UInt8 = 0
    var fragment: UInt16 = 0
    var identification: UInt16 = 0
    var segmentByteCount = 0
    var isIPv4 = true

    func write(_ payload: [UInt8], to region: ByteRegion) -> ByteRegion {
        let header = isIPv4 ? 20 : 40
        let transport = protocolNumber == 6 ? 20 : protocolNumber == 17 ? 8 : 0
        let total = header + transport + payload.count
        region.prefix(header + transport).fill(with: 0)
        if isIPv4 {
            region[0] = 0x45
            region[1] = trafficClass
            region.storeBigEndian(UInt16(total), at: IPv4Field.totalLength)
            region.storeBigEndian(identification, at: IPv4Field.identification)
            region.storeBigEndian(fragment, at: IPv4Field.fragment)
            region[IPv4Field.protocol] = protocolNumber
            region.storeBigEndian(source, at: IPv4Field.source)
            region.storeBigEndian(destination, at: IPv4Field.destination)
        } else {
            region.storeBigEndian(0x6000_0000 | UInt32(trafficClass) << 20, at: 0)
            region.storeBigEndian(UInt16(total - 40), at: IPv6Field.payloadLength)
            region[IPv6Field.nextHeader] = protocolNumber
            region.storeBigEndian(UInt64(0xfd00) << 48, at: IPv6Field.source)
            region.storeBigEndian(UInt64(source), at: IPv6Field.source + 8)
            region.storeBigEndian(UInt64(0xfd00) << 48, at: IPv6Field.destination)
            region.storeBigEndian(UInt64(destination), at: IPv6Field.destination + 8)
        }
        if transport >= 8 {
            region.storeBigEndian(sourcePort, at: header)
            region.storeBigEndian(destinationPort, at: header + 2)
        }
        if transport == 20 {
            region.storeBigEndian(sequence, at: header + TCPField.sequence)
            region.storeBigEndian(acknowledgment, at: header + TCPField.acknowledgment)
            region[header + TCPField.dataOffset] = 0x50
            region[header + TCPField.flags] = flags
            region.storeBigEndian(window, at: header + TCPField.window)
        }
        region.region(from: header + transport).copy(bytes: payload)
        return region.prefix(total)
    }
}

/// A TCP connection whose segments a tap sees.
struct Connection {
    enum End { case client, server }

    var client: UInt32 = 0x0a00_0002
    var server: UInt32 = 0x0a09_0005
    var clientPort: UInt16 = 51_000
    var serverPort: UInt16 = 8_000
    var tunnel = 0
    var peer: Int32 = 7
    /// Whether the client is on this side of the tunnel.
    var isClientHere = true
    var isIPv4 = true
    var trafficClass: UInt8 = 0
    var clientSequence: UInt32 = 4_000_000_000
    var serverSequence: UInt32 = 17
    static let segment = 1_400

    init(clientPort: UInt16 = 51_000, serverPort: UInt16 = 8_000) {
        self.clientPort = clientPort
        self.serverPort = serverPort
    }

    func direction(from end: End) -> FlowDirection {
        (end == .client) == isClientHere ? .outbound : .inbound
    }

    func packet(from end: End, sequence: UInt32? = nil, flags: UInt8 = TCPField.ack) -> TapPacket {
        let isClient = end == .client
        var packet = TapPacket(
            source: isClient ? client : server, destination: isClient ? server : client,
            sourcePort: isClient ? clientPort : serverPort,
            destinationPort: isClient ? serverPort : clientPort)
        packet.sequence = sequence ?? (isClient ? clientSequence : serverSequence)
        packet.flags = flags
        packet.isIPv4 = isIPv4
        packet.trafficClass = trafficClass
        return packet
    }

    mutating func open(_ tap: inout Tap) {
        clientSequence &-= 1
        serverSequence &-= 1
        _ = pass(&tap, from: .client, [], flags: TCPField.syn)
        _ = pass(&tap, from: .server, [], flags: TCPField.syn | TCPField.ack)
        clientSequence &+= 1
        serverSequence &+= 1
        _ = acknowledge(&tap, from: .client)
    }

    mutating func close(_ tap: inout Tap) {
        _ = pass(&tap, from: .client, [], flags: TCPField.fin | TCPField.ack)
        _ = pass(&tap, from: .server, [], flags: TCPField.fin | TCPField.ack)
    }

    /// One segment or, if it is longer, a frame of many.
    @discardableResult
    mutating func send(_ tap: inout Tap, from end: End, _ payload: [UInt8]) -> FlowVerdict {
        let verdict = pass(&tap, from: end, payload, flags: TCPField.ack | TCPField.psh)
        advance(end, payload.count)
        return verdict
    }

    @discardableResult
    mutating func send(_ tap: inout Tap, from end: End, count: Int) -> FlowVerdict {
        send(&tap, from: end, [UInt8](repeating: 0xa5, count: count))
    }

    mutating func advance(_ end: End, _ count: Int) {
        if end == .client {
            clientSequence &+= UInt32(count)
        } else {
            serverSequence &+= UInt32(count)
        }
    }

    @discardableResult
    func acknowledge(_ tap: inout Tap, from end: End) -> FlowVerdict {
        pass(&tap, from: end, [], flags: TCPField.ack)
    }

    func pass(
        _ tap: inout Tap, from end: End, _ payload: [UInt8], sequence: UInt32? = nil,
        flags: UInt8
    ) -> FlowVerdict {
        var packet = packet(from: end, sequence: sequence, flags: flags)
        packet.segmentByteCount = payload.count > Self.segment ? Self.segment : 0
        return tap.pass(
            packet, payload, direction: direction(from: end), tunnel: tunnel, peer: peer)
    }

    func record(_ tap: borrowing Tap) throws -> FlowRecord {
        var filter = FlowFilter()
        filter.port = clientPort
        filter.otherPort = serverPort
        let found = tap.table.flows(
            of: tunnel, matching: filter, limit: 1, rules: tap.rules, now: tap.now)
        guard let record = found.first else { throw NoSuchFlow() }
        return record
    }
}

struct NoSuchFlow: Error {}

extension ByteRegion {
    /// As one copy: byte by byte, an upload takes minutes without the optimiser.
    fileprivate func copy(bytes: [UInt8]) {
        precondition(bytes.count <= count, "more bytes than room")
        unsafe bytes.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            unsafe unsafeStart.copyMemory(from: start, byteCount: source.count)
        }
    }
}
