import PacketFormats
import PacketMemory
import TestSupport
import Testing

@Suite struct ICMPUnreachableTests {
    private func answer(
        _ packet: [UInt8], _ reason: ICMPUnreachable.Reason = .host,
        from source: IPAddress? = nil, room: Int = 2_000
    ) -> [UInt8] {
        let arena = ByteArena(count: max(room, 1))
        return ByteArena.withCopy(of: packet) { region in
            let count = ICMPUnreachable.build(
                reason, for: region, from: source, into: arena.whole.prefix(room))
            return arena.whole.prefix(count).bytes
        }
    }

    /// An ICMP or ICMPv6 message, made out of a UDP packet of the same addresses.
    private func icmp(_ base: PacketBuilder, type: UInt8) -> [UInt8] {
        var packet = base.with { $0.payload = [1, 2, 3, 4] }.bytes
        packet[base.isIPv4 ? 9 : 6] = base.isIPv4 ? 1 : 58
        packet[base.isIPv4 ? 20 : 40] = type
        return packet
    }

    @Test func hostUnreachableQuotesThePacket() {
        let packet = PacketBuilder.udp4.with { $0.payload = PacketBuilder.pattern(30) }.bytes
        let answer = answer(packet)
        #expect(answer.count == 28 + packet.count)
        #expect(Array(answer[12..<16]) == [10, 0, 0, 2])
        #expect(Array(answer[16..<20]) == [10, 0, 0, 1])
        #expect(answer[9] == 1 && answer[20] == 3 && answer[21] == 1)
        #expect(Array(answer[28...]) == packet)
        #expect(PacketBuilder.slowSum(Array(answer[..<20])) == 0xffff)
        #expect(PacketBuilder.slowSum(Array(answer[20...])) == 0xffff)
        #expect(Int(answer[2]) << 8 | Int(answer[3]) == answer.count)
    }

    @Test func addressUnreachableQuotesThePacket() {
        let builder = PacketBuilder.tcp6.with { $0.payload = PacketBuilder.pattern(31) }
        let packet = builder.bytes
        let answer = answer(packet)
        #expect(answer.count == 48 + packet.count)
        #expect(Array(answer[8..<24]) == builder.destination)
        #expect(Array(answer[24..<40]) == builder.source)
        #expect(answer[6] == 58 && answer[40] == 1 && answer[41] == 3)
        #expect(Array(answer[48...]) == packet)
        #expect(ByteArena.withCopy(of: answer) { region in
            IPPacket(region).map { Checksum.verifyTransport(of: $0) } ?? false
        })
    }

    @Test(arguments: [
        (68, [0, 68]), (1_280, [5, 0]), (65_535, [255, 255]), (65_536, [255, 255]),
        (.max, [255, 255]), (-1, [0, 0]),
    ] as [(Int, [UInt8])])
    func fragmentationNeededNamesTheMTU(mtu: Int, field: [UInt8]) {
        let packet = PacketBuilder.tcp4.with { $0.payload = PacketBuilder.pattern(1_400) }.bytes
        let answer = answer(packet, .tooBig(mtu: mtu))
        #expect(answer.count == 576)
        #expect(Array(answer[20..<22]) == [3, 4])
        // RFC 1191, section 4: two bytes unused, two of the next hop's MTU.
        #expect(Array(answer[24..<28]) == [0, 0] + field)
        #expect(Array(answer[28...]) == Array(packet[..<548]))
        #expect(Array(answer[12..<20]) == [10, 0, 0, 2, 10, 0, 0, 1])
        #expect(PacketBuilder.slowSum(Array(answer[..<20])) == 0xffff)
        #expect(PacketBuilder.slowSum(Array(answer[20...])) == 0xffff)
    }

    @Test(arguments: [
        (1_280, [0, 0, 5, 0]), (65_536, [0, 1, 0, 0]), (.max, [255, 255, 255, 255]),
        (-1, [0, 0, 0, 0]),
    ] as [(Int, [UInt8])])
    func packetTooBigNamesTheMTU(mtu: Int, field: [UInt8]) {
        let packet = PacketBuilder.tcp6.with { $0.payload = PacketBuilder.pattern(1_400) }.bytes
        let answer = answer(packet, .tooBig(mtu: mtu))
        #expect(answer.count == 1_280)
        #expect(Array(answer[40..<42]) == [2, 0])
        // RFC 4443, section 3.2: all four bytes.
        #expect(Array(answer[44..<48]) == field)
        #expect(Array(answer[48...]) == Array(packet[..<1_232]))
        #expect(ByteArena.withCopy(of: answer) { region in
            IPPacket(region).map { Checksum.verifyTransport(of: $0) } ?? false
        })
    }

    /// RFC 1122, section 3.2.2, and RFC 4443, section 2.4(e).
    @Test func tooBigIsSaidToNobodyWhoMayNotHearOfIt() {
        let reason = ICMPUnreachable.Reason.tooBig(mtu: 1_300)
        #expect(answer(icmp(.udp4, type: 3), reason).isEmpty)
        #expect(answer(icmp(.udp6, type: 2), reason).isEmpty)
        #expect(!answer(icmp(.udp4, type: 8), reason).isEmpty)
        #expect(!answer(icmp(.udp6, type: 128), reason).isEmpty)
        #expect(answer(PacketBuilder.udp4.with { $0.fragment = 0x4001 }.bytes, reason).isEmpty)
        let group = [0xff, 2] + [UInt8](repeating: 0, count: 13) + [1]
        #expect(answer(PacketBuilder.udp6.with { $0.destination = group }.bytes, reason).isEmpty)
        #expect(answer(PacketBuilder.udp6.with { $0.source = group }.bytes, reason).isEmpty)
        let groupOfIPv4 = PacketBuilder.udp4.with { $0.destination = [224, 0, 0, 9] }
        #expect(answer(groupOfIPv4.bytes, reason).isEmpty)
    }

    @Test(arguments: [(PacketBuilder.udp4, 576, 28), (.udp6, 1_280, 48)])
    func quotationStopsAtTheLongestAnswer(base: PacketBuilder, limit: Int, headers: Int) {
        let bare = base.bytes.count
        for (size, expected) in [
            (limit - headers - 1, limit - 1), (limit - headers, limit),
            (limit - headers + 1, limit), (5_000, limit),
        ] {
            let packet = base.with { $0.payload = PacketBuilder.pattern(size - bare) }.bytes
            #expect(answer(packet).count == expected)
        }
        let packet = base.with { $0.payload = PacketBuilder.pattern(500) }.bytes
        let least = headers + bare
        #expect(answer(packet, room: least).count == least)
        #expect(answer(packet, room: least - 1).isEmpty)
        #expect(answer(packet, room: 0).isEmpty)
    }

    @Test func sourceOfTheSameFamilyIsUsed() {
        let four = IPAddress(ipv4: 0xc000_0201)
        let six = IPAddress(high: 0x2001_0db8_0000_0000, low: 9)
        #expect(Array(answer(PacketBuilder.udp4.bytes, from: four)[12..<16]) == [192, 0, 2, 1])
        #expect(Array(answer(PacketBuilder.udp4.bytes, from: six)[12..<16]) == [10, 0, 0, 2])
        #expect(answer(PacketBuilder.udp6.bytes, from: six)[23] == 9)
        #expect(answer(PacketBuilder.udp6.bytes, from: four)[23] == 2)
    }

    @Test func icmpErrorsAreNotAnsweredAndQuestionsAre() {
        for type in UInt8.min ... .max {
            let isQuestion = [0, 8, 9, 10, 13, 14, 15, 16, 17, 18].contains(type)
            #expect(answer(icmp(.udp4, type: type)).isEmpty == !isQuestion, "\(type)")
            let isError6 = type < 128 || type == 137
            #expect(answer(icmp(.udp6, type: type)).isEmpty == isError6, "\(type)")
        }
        var empty = Array(icmp(.udp4, type: 8)[..<20])
        empty[3] = 20
        #expect(answer(empty).isEmpty)
        var empty6 = Array(icmp(.udp6, type: 128)[..<40])
        empty6[5] = 0
        #expect(answer(empty6).isEmpty)
    }

    @Test func onlyFirstFragmentsAreAnswered() {
        #expect(!answer(PacketBuilder.udp4.with { $0.fragment = 0x2000 }.bytes).isEmpty)
        #expect(answer(PacketBuilder.udp4.with { $0.fragment = 0x2001 }.bytes).isEmpty)
        #expect(answer(PacketBuilder.udp4.with { $0.fragment = 0x0001 }.bytes).isEmpty)
        let first = PacketBuilder.udp6.with { $0.extensionHeaders = [(44, [0, 0, 1, 0, 0, 0, 1])] }
        let later = PacketBuilder.udp6.with { $0.extensionHeaders = [(44, [0, 0, 8, 0, 0, 0, 1])] }
        #expect(!answer(first.bytes).isEmpty)
        #expect(answer(later.bytes).isEmpty)
    }

    @Test(arguments: [
        ([0, 0, 0, 0], false), ([0, 1, 2, 3], false), ([127, 0, 0, 1], false),
        ([224, 0, 0, 1], false), ([239, 1, 1, 1], false), ([240, 0, 0, 1], false),
        ([255, 255, 255, 255], false), ([1, 0, 0, 0], true), ([126, 255, 255, 255], true),
        ([128, 0, 0, 1], true), ([223, 255, 255, 254], true),
    ])
    func sourcesThatAreNoSingleHostAreNotAnswered(source: [UInt8], isAnswered: Bool) {
        #expect(answer(PacketBuilder.udp4.with { $0.source = source }.bytes).isEmpty != isAnswered)
    }

    @Test(arguments: [
        ([223, 255, 255, 255], true), ([224, 0, 0, 0], false), ([239, 255, 255, 255], false),
        ([240, 0, 0, 0], true), ([255, 255, 255, 254], true), ([255, 255, 255, 255], false),
    ])
    func groupsAndBroadcastAreNotAnswered(destination: [UInt8], isAnswered: Bool) {
        let packet = PacketBuilder.udp4.with { $0.destination = destination }.bytes
        #expect(answer(packet).isEmpty != isAnswered)
    }

    @Test func ipv6SourcesAndGroupsFollowTheRules() {
        let zero = [UInt8](repeating: 0, count: 16)
        let loopback = [UInt8](repeating: 0, count: 15) + [1]
        let group = [0xff, 2] + [UInt8](repeating: 0, count: 13) + [1]
        for source in [zero, loopback, group] {
            #expect(answer(PacketBuilder.udp6.with { $0.source = source }.bytes).isEmpty)
        }
        #expect(answer(PacketBuilder.udp6.with { $0.destination = group }.bytes).isEmpty)
        #expect(!answer(PacketBuilder.udp6.with { $0.source[0] = 0xfe }.bytes).isEmpty)
    }

    @Test func bytesThatAreNoPacketAreNotAnswered() {
        #expect(answer([]).isEmpty)
        #expect(answer([UInt8](repeating: 0, count: 100)).isEmpty)
        #expect(answer(Array(PacketBuilder.udp4.bytes.dropLast())).isEmpty)
    }
}
