import PacketFormats
import PacketMemory
import Testing

@Suite struct WireGuardMessageTests {
    private func classify(_ type: [UInt8], _ count: Int) -> WireGuardMessage.Classification {
        var datagram = [UInt8](repeating: 0, count: count)
        for (index, byte) in type.enumerated() where index < count { datagram[index] = byte }
        return ByteArena.withCopy(of: datagram) { WireGuardMessage.type(of: $0) }
    }

    @Test(arguments: [
        (1, 148, WireGuardMessage.Kind.initiation), (2, 92, .response), (3, 64, .cookieReply),
    ])
    func fixedMessagesHaveExactlyTheirSize(
        type: UInt8, count: Int, kind: WireGuardMessage.Kind
    ) {
        #expect(classify([type], count) == .message(kind))
        #expect(classify([type], count - 1) == .invalid(.wrongLength))
        #expect(classify([type], count + 1) == .invalid(.wrongLength))
    }

    @Test(arguments: [
        (1, 1_348, WireGuardMessage.Kind.initiation), (2, 1_196, .response), (3, 64, .cookieReply),
    ])
    func hybridMessagesHaveExactlyTheirSize(
        type: UInt8, count: Int, kind: WireGuardMessage.Kind
    ) {
        #expect(classify([type, 1], count) == .message(kind))
        for other in [count - 1, count + 1, 92, 148, 1_196, 1_348] where other != count {
            #expect(classify([type, 1], other) == .invalid(.wrongLength))
        }
    }

    @Test func familyIsTheFirstReservedByte() {
        for family in WireGuardMessage.Family.allCases {
            for kind in WireGuardMessage.Kind.allCases {
                let word = WireGuardMessage.typeWord(kind, family)
                let bytes = (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) }
                #expect(bytes == [UInt8(kind.rawValue), family.rawValue, 0, 0])
                let found = ByteArena.withCopy(of: bytes) { WireGuardMessage.family(of: $0) }
                #expect(found == family)
            }
        }
        for (type, isData) in [
            ([4, 0, 0, 0], true), ([4, 1, 0, 0], true), ([4, 2, 0, 0], false),
            ([4, 0, 1, 0], false), ([4, 1, 0, 1], false), ([1, 1, 0, 0], false),
        ] as [([UInt8], Bool)] {
            for (count, isLongEnough) in [(31, false), (32, true)] {
                let datagram = type + [UInt8](repeating: 0, count: count - 4)
                let found = ByteArena.withCopy(of: datagram) {
                    WireGuardMessage.isTransportData($0)
                }
                #expect(found == (isData && isLongEnough))
            }
        }
    }

    @Test func transportDataIsAtLeastAKeepalive() {
        #expect(classify([4], 31) == .invalid(.wrongLength))
        #expect(classify([4], 32) == .message(.transportData))
        #expect(classify([4], 33) == .message(.transportData))
        #expect(classify([4], 65_507) == .message(.transportData))
        #expect(classify([4, 1], 31) == .invalid(.wrongLength))
        #expect(classify([4, 1], 32) == .message(.transportData))
    }

    @Test func otherTypesAndReservedBytesAreUnknown() {
        for type in [UInt8(0), 5, 0x40, 255] {
            #expect(classify([type], 148) == .invalid(.unknownType))
        }
        for reserved in [[1, 2, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0x80], [0, 1, 0, 0], [5, 1, 0, 0]]
            as [[UInt8]]
        {
            #expect(classify(reserved, 148) == .invalid(.unknownType))
        }
        for count in 0..<4 { #expect(classify([1, 0, 0, 0], count) == .invalid(.tooShort)) }
    }

    @Test func fieldsFillTheMessages() {
        typealias Initiation = WireGuardMessage.Initiation
        #expect(Initiation.encryptedStaticOffset == Initiation.ephemeralOffset + 32)
        #expect(Initiation.encryptedTimestampOffset == Initiation.encryptedStaticOffset + 48)
        #expect(Initiation.mac1Offset == Initiation.encryptedTimestampOffset + 28)
        #expect(Initiation.mac2Offset + 16 == Initiation.count)
        typealias Response = WireGuardMessage.Response
        #expect(Response.encryptedNothingOffset == Response.ephemeralOffset + 32)
        #expect(Response.mac1Offset == Response.encryptedNothingOffset + 16)
        #expect(Response.mac2Offset + 16 == Response.count)
        typealias Cookie = WireGuardMessage.CookieReply
        #expect(Cookie.encryptedCookieOffset == Cookie.nonceOffset + 24)
        #expect(Cookie.encryptedCookieOffset + 32 == Cookie.count)
    }

    @Test func fieldsFillTheHybridMessages() {
        typealias Initiation = WireGuardMessage.HybridInitiation
        #expect(Initiation.ephemeralOffset == WireGuardMessage.Initiation.ephemeralOffset)
        #expect(Initiation.encryptedEncapsulationKeyOffset == Initiation.ephemeralOffset + 32)
        #expect(
            Initiation.encryptedStaticOffset
                == Initiation.encryptedEncapsulationKeyOffset + 1_184 + 16)
        #expect(Initiation.encryptedTimestampOffset == Initiation.encryptedStaticOffset + 48)
        #expect(Initiation.mac1Offset == Initiation.encryptedTimestampOffset + 28)
        #expect(Initiation.mac2Offset + 16 == Initiation.count)
        typealias Response = WireGuardMessage.HybridResponse
        #expect(Response.receiverIndexOffset == WireGuardMessage.Response.receiverIndexOffset)
        #expect(Response.encryptedCiphertextOffset == Response.ephemeralOffset + 32)
        #expect(
            Response.encryptedNothingOffset == Response.encryptedCiphertextOffset + 1_088 + 16)
        #expect(Response.mac1Offset == Response.encryptedNothingOffset + 16)
        #expect(Response.mac2Offset + 16 == Response.count)
        #expect(Response.count <= Initiation.count)
    }
}
