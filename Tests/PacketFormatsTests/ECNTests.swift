import PacketFormats
import PacketMemory
import TestSupport
import Testing

@Suite struct ECNTests {
    /// RFC 6040, figure 4: rows are the inner field, columns the outer one.
    @Test func decapsulationFollowsTheWholeTable() {
        let columns: [ECN] = [.notECT, .ect0, .ect1, .ce]
        let table: [(inner: ECN, row: [ECN.Decapsulation])] = [
            (.notECT, [.keep, .keep, .keep, .drop]),
            (.ect0, [.keep, .keep, .set(.ect1), .set(.ce)]),
            (.ect1, [.keep, .keep, .keep, .set(.ce)]),
            (.ce, [.keep, .keep, .keep, .keep]),
        ]
        for (inner, row) in table {
            for (outer, expected) in zip(columns, row) {
                #expect(ECN.decapsulate(inner: inner, outer: outer) == expected)
            }
        }
    }

    /// RFC 6040, figure 3.
    @Test func ingressCopiesOrClears() {
        for inner in ECN.allCases {
            #expect(ECN.outer(forInner: inner) == inner)
            #expect(ECN.outer(forInner: inner, mode: .normal) == inner)
            #expect(ECN.outer(forInner: inner, mode: .compatibility) == .notECT)
        }
    }

    @Test func codepointsAreThoseOfRFC3168() {
        #expect(ECN(trafficClass: 0b1111_1100) == .notECT)
        #expect(ECN(trafficClass: 0b01) == .ect1)
        #expect(ECN(trafficClass: 0b10) == .ect0)
        #expect(ECN(trafficClass: 0b1010_1011) == .ce)
    }

    @Test(arguments: [PacketBuilder.tcp4, .udp4, .tcp6, .udp6])
    func settingKeepsEverythingElseAndTheChecksum(builder: PacketBuilder) {
        for trafficClass in [UInt8(0), 1, 2, 3, 0xb8, 0xfd] {
            let builder = builder.with { $0.payload = [1, 2, 3]; $0.trafficClass = trafficClass }
            for new in ECN.allCases {
                let written = ByteArena.withCopy(of: builder.bytes) { region in
                    let packet = IPPacket(region)
                    #expect(packet?.trafficClass == trafficClass)
                    packet?.ecn = new
                    #expect(packet?.ecn == new)
                    return region.bytes
                }
                let expected = builder.with { $0.trafficClass = trafficClass & 0xfc | new.rawValue }
                #expect(written == expected.bytes)
            }
        }
    }

    @Test func onlyECNCapablePacketsAreMarked() {
        for trafficClass in UInt8(0)...3 {
            let bytes = PacketBuilder.tcp4.with { $0.trafficClass = trafficClass }.bytes
            ByteArena.withCopy(of: bytes) { region in
                let packet = IPPacket(region)
                #expect(packet?.markCE() == (trafficClass != 0))
                #expect(packet?.ecn == (trafficClass == 0 ? .notECT : .ce))
            }
        }
    }
}
