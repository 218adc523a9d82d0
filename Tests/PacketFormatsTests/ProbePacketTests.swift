import PacketFormats
import PacketMemory
import TestSupport
import Testing

@Suite struct ProbePacketTests {
    private let v4 = (IPAddress("10.0.0.1")!, IPAddress("10.0.0.2")!)
    private let v6 = (IPAddress("fd00::1")!, IPAddress("fd00::2")!)

    private func read(_ bytes: [UInt8]) -> ProbeAnswer? {
        ByteArena.withCopy(of: bytes) { ProbeAnswer($0) }
    }

    private func marks(_ packet: [UInt8], _ marks: ProbeMarks) -> Bool {
        ByteArena.withCopy(of: packet) { IPPacket($0).map(marks.matches) ?? false }
    }

    /// An echo request turned into its reply, checksums made anew.
    private func reply(to request: [UInt8]) -> [UInt8] {
        var bytes = request
        let isIPv4 = bytes[0] >> 4 == 4
        let (start, size, header) = isIPv4 ? (12, 4, 20) : (8, 16, 40)
        let source = bytes[start..<start + size]
        let destination = bytes[start + size..<start + 2 * size]
        bytes.replaceSubrange(start..<start + 2 * size, with: destination + source)
        bytes[header] = isIPv4 ? 0 : 129
        return summed(bytes)
    }

    /// Makes the checksum of an ICMP message right.
    private func summed(_ packet: [UInt8]) -> [UInt8] {
        var bytes = packet
        let isIPv4 = bytes[0] >> 4 == 4
        let header = isIPv4 ? 20 : 40
        bytes.replaceSubrange(header + 2..<header + 4, with: [0, 0])
        let message = Array(bytes[header...])
        let pseudo =
            isIPv4 ? [] : Array(bytes[8..<40]) + [0, 58] + PacketBuilder.big(UInt16(message.count))
        let sum = ~PacketBuilder.slowSum(pseudo + message)
        bytes.replaceSubrange(header + 2..<header + 4, with: PacketBuilder.big(sum))
        return bytes
    }

    @Test func echoRequestsAreWhatTheKernelWouldSend() {
        let request = ProbePacket.echoRequest(
            from: v4.0, to: v4.1, identifier: 0x1234, sequence: 7, token: 0x0102_0304_0506_0708)
        #expect(request.count == 36 && request[20...21] == [8, 0])
        #expect(request[24...] == [0x12, 0x34, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8])
        #expect(PacketBuilder.slowSum(Array(request[..<20])) == 0xffff)
        #expect(PacketBuilder.slowSum(Array(request[20...])) == 0xffff)
        let wide = ProbePacket.echoRequest(
            from: v6.0, to: v6.1, identifier: 1, sequence: 2, token: 3)
        #expect(wide.count == 56 && wide[40...41] == [128, 0])
        #expect(wide == summed(wide))
    }

    @Test func synchronizeHasRightSums() {
        for (base, pair) in [(PacketBuilder.tcp4, v4), (.tcp6, v6)] {
            let expected = base.with {
                $0.sourcePort = 61_000
                $0.destinationPort = 443
                $0.sequence = 0xdead_beef
                $0.acknowledgment = 0
                $0.flags = 2
                $0.window = 1_024
                $0.tcpOptions = [2, 4, 2, 24]
                $0.identification = 0
            }
            let packet = ProbePacket.synchronize(
                from: pair.0, port: 61_000, to: pair.1, port: 443, sequence: 0xdead_beef)
            #expect(packet == expected.bytes)
            let reset = ProbePacket.reset(
                from: pair.0, port: 61_000, to: pair.1, port: 443, sequence: 5)
            #expect(
                reset == expected.with {
                    $0.sequence = 5
                    $0.flags = 4
                    $0.tcpOptions = []
                }.bytes)
        }
    }

    @Test func repliesAreRead() throws {
        for pair in [v4, v6] {
            let answer = try #require(read(reply(to: ProbePacket.echoRequest(
                from: pair.0, to: pair.1, identifier: 9, sequence: 65_535, token: 77))))
            #expect(answer.source == pair.1 && answer.destination == pair.0)
            #expect(answer.kind == .echoReply(identifier: 9, sequence: 65_535, token: 77))
        }
    }

    @Test func everyBitOfAReplyCounts() {
        for pair in [v4, v6] {
            let good = reply(to: ProbePacket.echoRequest(
                from: pair.0, to: pair.1, identifier: 9, sequence: 1, token: 77))
            let first = read(good)
            for index in good.indices {
                for bit in 0..<8 {
                    var bad = good
                    bad[index] ^= 1 << bit
                    let answer = read(bad)
                    // IPv6 guards neither its traffic class, flow label nor hop limit.
                    let isUnguarded = pair.0 == v6.0 && (index < 4 || index == 7)
                    #expect(answer == nil || isUnguarded && answer == first, "\(index).\(bit)")
                }
            }
            #expect(read(Array(good.dropLast())) == nil)
            #expect(read(good + [0]) == nil)
        }
    }

    @Test func requestsAndOtherMessagesAreNoAnswers() {
        let request = ProbePacket.echoRequest(
            from: v4.0, to: v4.1, identifier: 9, sequence: 1, token: 77)
        #expect(read(request) == nil)
        for type in 1...255 as ClosedRange<UInt8> {
            var other = reply(to: request)
            other[20] = type
            #expect(read(summed(other)) == nil, "\(type)")
        }
        for bytes in realPackets.map({ bytes(hex: $0) }) { #expect(read(bytes) == nil) }
        #expect(read([]) == nil)
    }

    @Test func segmentsAreToldApart() {
        for base in [PacketBuilder.tcp4, .tcp6] {
            func kind(
                _ flags: UInt8, _ change: (inout PacketBuilder) -> Void = { _ in }
            ) -> ProbeAnswer.Kind? {
                read(
                    base.with {
                        $0.flags = flags
                        $0.acknowledgment = 42
                        change(&$0)
                    }.bytes)?.kind
            }
            let open = ProbeAnswer.Kind.portOpen(port: 40_000, localPort: 443, acknowledgment: 42)
            let closed = ProbeAnswer.Kind.portClosed(
                port: 40_000, localPort: 443, acknowledgment: 42)
            #expect(kind(0x12) == open)
            #expect(kind(0x52) == open, "with the echo of congestion notification")
            #expect(kind(0x12) { $0.tcpOptions = [2, 4, 5, 180] } == open)
            #expect(kind(0x14) == closed)
            for flags in [0x02, 0x10, 0x04, 0x11, 0x13, 0x16, 0x18, 0x00] as [UInt8] {
                #expect(kind(flags) == nil, "\(flags)")
            }
            #expect(kind(0x12) { $0.payload = [1] } == nil, "data before the handshake is over")
            var bad = base.with { $0.flags = 0x12 }.bytes
            bad[bad.count - 1] ^= 1
            #expect(read(bad) == nil)
        }
        let fragment = PacketBuilder.tcp4.with {
            $0.flags = 0x12
            $0.fragment = 0x2000
        }
        #expect(read(fragment.bytes) == nil)
        let options = PacketBuilder.tcp4.with {
            $0.flags = 0x12
            $0.ipOptions = [1, 1, 1, 1]
        }
        #expect(read(options.bytes) == nil)
    }

    @Test func marksMatchAnswersOnly() {
        let known = ProbeMarks(
            identifier: 9, localPorts: 61_000...61_063, localAddresses: [v4.0, v6.0])
        func isMarked(_ identifier: UInt16, _ from: IPAddress, _ to: IPAddress) -> Bool {
            marks(
                reply(to: ProbePacket.echoRequest(
                    from: from, to: to, identifier: identifier, sequence: 1, token: 1)), known)
        }
        #expect(isMarked(9, v4.0, v4.1) && isMarked(9, v6.0, v6.1))
        #expect(!isMarked(8, v4.0, v4.1) && !isMarked(9, v4.1, v4.0))
        for (port, flags, expected) in [
            (61_000, 0x12, true), (61_063, 0x14, true), (61_063, 0x04, true),
            (60_999, 0x12, false), (61_064, 0x12, false), (61_000, 0x10, false),
            (61_000, 0x18, false),
        ] as [(UInt16, UInt8, Bool)] {
            let answer = PacketBuilder.tcp4.with {
                $0.source = [10, 0, 0, 2]
                $0.destination = [10, 0, 0, 1]
                $0.destinationPort = port
                $0.flags = flags
            }
            #expect(marks(answer.bytes, known) == expected, "\(port) \(flags)")
        }
        #expect(!marks(PacketBuilder.udp4.bytes, known))
    }
}
