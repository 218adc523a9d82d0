import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

/// What inner packets look like.
struct TrafficShape {
    /// Bytes of each inner packet; `nil`: each is 16 longer than the one before, around and around.
    var packetBytes: Int?
    var flows = Flows.one

    enum Flows: String {
        /// One flow for each peer.
        case one
        /// A thousand source ports by turns.
        case many
        /// Ports and destination of each packet are new.
        case new
    }

    static let headerBytes = 28
    static let bytesMax = 1_420
    static let echoPort: UInt16 = 7_000

    func byteCount(of packet: Int) -> Int {
        max(Self.headerBytes, min(packetBytes ?? 64 + packet % 32 * 16, Self.bytesMax))
    }
}

extension Emulator {
    /// Sends inner packets from `places` by turns.
    ///
    /// - Parameters:
    ///   - rate: Packets a second; 0 for all that it can.
    ///   - burst: Packets that leave together.
    /// - Returns: Packets sent.
    func sendPackets(
        places: [Int], shape: TrafficShape, rate: Double, burst: Int, seconds: Double
    ) -> Int {
        let order = shuffledWithinPorts(places)
        guard !order.isEmpty else { return 0 }
        var turn = 0
        let most = rate > 0 ? burst : sends.capacity
        return paced(rate: rate, seconds: seconds, least: burst, most: most) {
            let now = Clock.monotonicNanoseconds()
            let place = order[turn % order.count]
            let peer = peers[place]
            turn += 1
            guard let session = peer.usableSession(now: now) else { return 0 }
            if sends.count > 0, sendingPort != peer.port || sends.count == sends.capacity {
                flush()
            }
            sendingPort = peer.port
            append(from: peer, session, shape, turn, now: now)
            if session.needsRekeyAfterSending(now: now), peer.activity.requestHandshake() {
                peer.device.noteActivity(peer.gateway, now: now)
            }
            return 1
        }
    }

    private func append(
        from peer: EmulatedPeer, _ session: Session, _ shape: TrafficShape, _ turn: Int, now: UInt64
    ) {
        guard let counter = session.reserveCounters(1) else { return }
        let byteCount = shape.byteCount(of: turn)
        let padded = (byteCount + 15) & ~15
        let packet = packetMemory.whole.prefix(padded)
        packet.region(at: byteCount, count: padded - byteCount).fill(with: 0)
        write(packet.prefix(byteCount), from: peer, shape, turn)
        let slot = slots.whole.region(at: sends.count * Self.slotBytes, count: Self.slotBytes)
        let length = session.seal(counter: counter, packet: packet, into: slot, with: cipher)
        _ = sends.append(
            region: slot.prefix(length), segmentByteCount: 0, to: destinations[peer.port],
            trafficClass: 0)
        counts.sentPackets += 1
        if peer.activity.packetSent(isData: true, byteCount: length, now: now) {
            peer.device.noteActivity(peer.gateway, now: now)
        }
    }

    /// IPv4 and UDP headers with their checksums; the payload stays what it was.
    private func write(
        _ packet: ByteRegion, from peer: EmulatedPeer, _ shape: TrafficShape, _ turn: Int
    ) {
        var sourcePort: UInt16 = 20_000
        var destinationPort = TrafficShape.echoPort
        switch shape.flows {
        case .one: break
        case .many: sourcePort += UInt16(turn % 1_000)
        case .new:
            let word = UInt64(turn) &* 0x9e37_79b9_7f4a_7c15
            sourcePort = UInt16(truncatingIfNeeded: word >> 32) | 1_024
            destinationPort = UInt16(truncatingIfNeeded: word >> 48) | 1_024
        }
        packet.storeBigEndian(UInt32(0x4500_0000) | UInt32(packet.count), at: 0)
        packet.storeBigEndian(UInt32(0x4000), at: 4)
        packet.storeBigEndian(UInt32(0x4011_0000), at: 8)
        packet.storeBigEndian(Identities.address(of: peer.number).ipv4, at: 12)
        packet.storeBigEndian(Identities.gatewayAddress.ipv4, at: 16)
        let header = Checksum.finish(Checksum.sum(packet.prefix(20)))
        packet.storeBigEndian(header, at: 10)
        packet.storeBigEndian(sourcePort, at: 20)
        packet.storeBigEndian(destinationPort, at: 22)
        packet.storeBigEndian(UInt16(packet.count - 20), at: 24)
        packet.storeBigEndian(UInt16(0), at: 26)
        guard let view = IPPacket(packet) else { return }
        let pseudoHeader = Checksum.pseudoHeader(
            of: view, protocol: 17, transportCount: packet.count - 20)
        let sum = Checksum.finish(Checksum.sum(packet.region(from: 20), pseudoHeader))
        packet.storeBigEndian(sum == 0 ? 0xffff : sum, at: 26)
    }

    func flush() {
        guard sends.count > 0 else { return }
        let waiting = sends.count
        let sent = sends.flush(on: socket(of: sendingPort))
        if sent < waiting { counts.sendFailures += waiting - max(sent, 0) }
        sends.removeAll()
    }

    /// Calls `send` at a rate for a time, and serves the sockets meanwhile.
    ///
    /// Who was kept from running catches up by at most 5 ms, or one burst.
    /// - Parameters:
    ///   - least: Calls that come together, without a look at the sockets between them.
    ///   - most: Calls between two looks at the sockets.
    /// - Returns: The sum of what `send` returned.
    func paced(
        rate: Double, seconds: Double, least: Int = 1, most: Int, send: () -> Int
    ) -> Int {
        let began = Clock.monotonicNanoseconds()
        let end = began + UInt64(seconds * 1e9)
        var total = 0
        var credit = 0.0
        var last = began
        while true {
            let now = Clock.monotonicNanoseconds()
            if now >= end { break }
            let creditMax = max(rate * 0.005, Double(least))
            credit = min(credit + Double(now - last) / 1e9 * rate, creditMax)
            last = now
            var calls = rate > 0 ? min(Int(credit), most) : most
            if calls < least { calls = 0 }
            credit -= Double(calls)
            while calls > 0 {
                total += send()
                calls -= 1
            }
            flush()
            let isBehind = rate == 0 || credit >= Double(least)
            step(timeoutNanoseconds: isBehind ? 0 : 200_000)
        }
        return total
    }

    /// Peers of one port stay together, in an order that follows no table's.
    private func shuffledWithinPorts(_ places: [Int]) -> [Int] {
        var random = SystemRandomNumberGenerator()
        let byPort = Dictionary(grouping: places) { peers[$0].port }
        return byPort.keys.sorted().flatMap { port in
            (byPort[port] ?? []).shuffled(using: &random)
        }
    }
}
