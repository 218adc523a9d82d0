import PacketFormats
import PacketMemory
import TestSupport
import Testing

/// Each rule from both sides: two packets that merge, and what keeps them from it.
@Suite struct CoalescerTests {
    /// Two packets in sequence; the second is changed by `change`.
    private func pair(
        _ base: PacketBuilder, _ change: (inout PacketBuilder) -> Void
    ) -> [[UInt8]] {
        let first = base.with { $0.payload = PacketBuilder.pattern(100) }
        let second = first.with {
            $0.payload = PacketBuilder.pattern(100, 1)
            $0.sequence = first.sequence &+ 100
            $0.identification = first.identification &+ 1
            change(&$0)
        }
        return [first.bytes, second.bytes]
    }

    private func merges(
        _ base: PacketBuilder, _ change: (inout PacketBuilder) -> Void = { _ in }
    ) -> Bool {
        let packets = pair(base, change)
        let frames = coalesce(packets)
        if frames.count == 2 {
            // What is not merged is not changed.
            #expect(frames.map(\.frame) == packets)
            #expect(frames.allSatisfy { $0.header == VirtioNetHeader() })
        }
        return frames.count == 1
    }

    static let all: [PacketBuilder] = [.tcp4, .tcp6, .udp4, .udp6]

    @Test(arguments: all)
    func packetsInSequenceMerge(base: PacketBuilder) {
        #expect(merges(base))
        #expect(merges(base) { $0.payload.removeLast() })
        #expect(!merges(base) { $0.payload.append(0) })
        #expect(!merges(base) { $0.payload = [] })
    }

    @Test(arguments: all)
    func differentIPHeadersDoNotMerge(base: PacketBuilder) {
        for bit in 0..<8 { #expect(!merges(base) { $0.trafficClass ^= 1 << bit }) }
        #expect(!merges(base) { $0.timeToLive -= 1 })
        #expect(!merges(base) { $0.source[3] ^= 1 })
        #expect(!merges(base) { $0.destination[$0.destination.count - 1] ^= 0x80 })
        #expect(!merges(base) { $0.sourcePort += 1 })
        #expect(!merges(base) { $0.destinationPort += 1 })
        #expect(!merges(base) { $0.isTCP.toggle() })
        if base.isIPv4 {
            #expect(!merges(base) { $0.fragment = 0 })
            #expect(!merges(base) { $0.ipOptions = [1, 1, 1, 1] })
            #expect(!merges(base) { $0.fragment = 0x2000 })
            #expect(!merges(base) { $0.fragment = 0x4001 })
            #expect(!merges(base) { $0.fragment = 0xc000 })
        } else {
            #expect(!merges(base) { $0.flowLabel = 1 })
            let options = [UInt8](repeating: 0, count: 7)
            let extensions: [(number: UInt8, rest: [UInt8])] = [(60, options)]
            #expect(!merges(base) { $0.extensionHeaders = extensions })
            #expect(!merges(base.with { $0.extensionHeaders = extensions }))
        }
    }

    @Test func optionsAndFragmentsOnBothDoNotMerge() {
        for base in [PacketBuilder.tcp4, .udp4] {
            #expect(!merges(base.with { $0.ipOptions = [1, 1, 1, 1] }))
            for fragment in [UInt16(0x2000), 0x0001, 0x8000, 0xc000] {
                #expect(!merges(base.with { $0.fragment = fragment }))
            }
        }
    }

    @Test func identificationCountsUpUnlessFragmentationIsForbidden() {
        let may = PacketBuilder.udp4.with { $0.fragment = 0 }
        #expect(merges(may))
        #expect(merges(may.with { $0.identification = .max }))
        #expect(!merges(may) { $0.identification += 1 })
        #expect(!merges(may) { $0.identification -= 1 })
        #expect(merges(.udp4) { $0.identification = 5 })
    }

    @Test(arguments: [PacketBuilder.tcp4, .tcp6])
    func differentTCPHeadersDoNotMerge(base: PacketBuilder) {
        #expect(!merges(base) { $0.sequence += 1 })
        #expect(!merges(base) { $0.sequence -= 1 })
        #expect(!merges(base) { $0.sequence -= 100 })
        #expect(merges(base.with { $0.sequence = .max - 50 }))
        #expect(!merges(base) { $0.acknowledgment += 1 })
        #expect(!merges(base) { $0.window += 1 })
        #expect(!merges(base) { $0.urgentPointer = 1 })
        #expect(!merges(base) { $0.tcpOptions = [1, 1, 1, 1] })
        let stamped = base.with { $0.tcpOptions = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2] }
        #expect(merges(stamped))
        for index in 0..<12 { #expect(!merges(stamped) { $0.tcpOptions[index] ^= 0x40 }) }
    }

    @Test(arguments: [PacketBuilder.tcp4, .tcp6])
    func onlyAcknowledgmentsWithDataMergeAndPushEndsARun(base: PacketBuilder) {
        #expect(merges(base) { $0.flags = 0x18 })
        #expect(!merges(base.with { $0.flags = 0x18 }))
        for flags in [UInt8(0x00), 0x11, 0x12, 0x14, 0x30, 0x50, 0x90, 0x02, 0x04, 0x08] {
            #expect(!merges(base) { $0.flags = flags }, "\(flags)")
            #expect(!merges(base.with { $0.flags = flags }), "\(flags)")
        }
        let pushed = coalesce(pair(base) { $0.flags = 0x18 })
        let offset = base.isIPv4 ? 33 : 53
        #expect(pushed[0].frame[offset] == 0x18)
    }

    @Test func aReservedBitDoesNotMerge() {
        var packets = pair(.tcp4) { _ in }
        for index in 0...1 {
            packets[index][32] |= 1
            let sum = UInt16(packets[index][36]) << 8 | UInt16(packets[index][37])
            let updated = Checksum.updated(sum, replacing: 0x5010, with: 0x5110)
            packets[index][36...37] = PacketBuilder.big(updated)[...]
        }
        #expect(coalesce(packets).map(\.frame) == packets)
    }

    @Test(arguments: all)
    func wrongChecksumsDoNotMergeOnEitherSide(base: PacketBuilder) {
        let field = (base.isIPv4 ? 20 : 40) + (base.isTCP ? 16 : 6)
        for index in 0...1 {
            for offset in base.isIPv4 ? [field, field + 1, 10, 11] : [field, field + 1] {
                var packets = pair(base) { _ in }
                packets[index][offset] ^= 0x10
                #expect(coalesce(packets).map(\.frame) == packets)
            }
        }
        guard !base.isTCP else { return }
        var packets = pair(base) { _ in }
        for index in 0...1 { packets[index][field...field + 1] = [0, 0] }
        #expect(coalesce(packets).map(\.frame) == packets)
    }

    @Test(arguments: [PacketBuilder.udp4, .udp6])
    func wrongUDPLengthsDoNotMerge(base: PacketBuilder) {
        var packets = pair(base) { _ in }
        packets[1][(base.isIPv4 ? 20 : 40) + 5] -= 1
        #expect(coalesce(packets).map(\.frame) == packets)
    }

    @Test func aShorterPacketEndsTheRun() {
        let base = PacketBuilder.udp4
        let sizes = [100, 100, 40, 40, 100, 100]
        let packets = sizes.enumerated().map { index, size in
            base.with {
                $0.payload = PacketBuilder.pattern(size, index)
                $0.identification = UInt16(index)
            }.bytes
        }
        #expect(coalesce(packets).map(\.segmentCount) == [3, 1, 2])
    }

    @Test(arguments: all)
    func totalLengthStopsAtTheLongestPacket(base: PacketBuilder) {
        let header = (base.isIPv4 ? 20 : 40) + (base.isTCP ? 20 : 8)
        for excess in -1...1 {
            let size = 1_000
            let full = (65_535 - header) / size
            let last = 65_535 - header - full * size + excess
            let packets = (0...full).map { index in
                base.with {
                    $0.payload = PacketBuilder.pattern(index == full ? last : size, index)
                    $0.sequence = 5 &+ UInt32(index * size)
                    $0.identification = UInt16(index)
                }.bytes
            }
            let counts = coalesce(packets).map(\.segmentCount)
            #expect(counts == (excess > 0 ? [full, 1] : [full + 1]))
        }
    }

    @Test func aRunHoldsAtMost128Packets() {
        let packets = (0..<257).map { index in
            PacketBuilder.udp6.with { $0.payload = PacketBuilder.pattern(64, index) }.bytes
        }
        #expect(coalesce(packets).map(\.segmentCount) == [128, 128, 1])
    }

    @Test(arguments: [
        (PacketBuilder.tcp4, CoalescingOffloads.tcp4), (.tcp6, .tcp6), (.udp4, .udp4),
        (.udp6, .udp6),
    ])
    func onlyWhatTheDeviceTakesIsMerged(base: PacketBuilder, offload: CoalescingOffloads) {
        let packets = pair(base) { _ in }
        #expect(coalesce(packets, offloads: offload).count == 1)
        #expect(
            coalesce(packets, offloads: CoalescingOffloads.all.subtracting(offload)).map(\.frame)
                == packets)
    }

    @Test(arguments: all)
    func theWriteTellsTheKernelHowToCut(base: PacketBuilder) {
        let frames = coalesce(pair(base) { $0.payload.removeLast() })
        let start = base.isIPv4 ? 20 : 40
        let headers = start + (base.isTCP ? 20 : 8)
        var expected = VirtioNetHeader()
        expected.flags = 1
        expected.gsoType = !base.isTCP ? 5 : base.isIPv4 ? 1 : 4
        expected.headerLength = UInt16(headers)
        expected.gsoSize = 100
        expected.checksumStart = UInt16(start)
        expected.checksumOffset = base.isTCP ? 16 : 6
        #expect(frames.map(\.header) == [expected])
        let frame = frames[0].frame
        #expect(frame.count == headers + 199)
        // The checksum field holds the pseudo header's sum, for the kernel to complete.
        let pseudo =
            base.source + base.destination + [0, base.number]
            + PacketBuilder.big(UInt16(frame.count - start))
        let field = start + (base.isTCP ? 16 : 6)
        #expect(
            Array(frame[field...field + 1])
                == PacketBuilder.big(PacketBuilder.slowSum(pseudo)))
        if base.isIPv4 { #expect(PacketBuilder.slowSum(Array(frame[..<20])) == 0xffff) }
    }

    @Test func theCallerIsToldWhatEachPacketDid() {
        let packets = pair(.tcp4) { _ in }
        let arena = ByteArena(count: 1_024)
        var coalescer = Coalescer(packetCapacity: 3)
        var regions: [ByteRegion] = []
        for (index, packet) in packets.enumerated() {
            let region = arena.whole.region(at: 64 + index * 256, count: packet.count)
            for (offset, byte) in packet.enumerated() { region[offset] = byte }
            regions.append(region)
        }
        var log: [[Int]] = []
        for index in [0, 1, 1, 1] {
            let isAdded = coalescer.add(regions[index])
            let isExtended = coalescer.lastAddExtendedRun
            log.append([isAdded ? 1 : 0, isExtended ? 1 : 0, coalescer.runCount])
        }
        // The third repeats the second; the fourth finds no room.
        #expect(log == [[1, 0, 1], [1, 1, 1], [1, 0, 2], [0, 0, 2]])
        coalescer.reset()
        let counts = [coalescer.runCount, coalescer.packetCount]
        #expect(counts == [0, 0])
        let isAdded = coalescer.add(regions[1])
        let isExtended = coalescer.lastAddExtendedRun
        #expect(isAdded && !isExtended)
        withExtendedLifetime(arena) {}
    }
}
