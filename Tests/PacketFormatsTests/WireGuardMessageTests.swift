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

    @Test func transportDataIsAtLeastAKeepalive() {
        #expect(classify([4], 31) == .invalid(.wrongLength))
        #expect(classify([4], 32) == .message(.transportData))
        #expect(classify([4], 33) == .message(.transportData))
        #expect(classify([4], 65_507) == .message(.transportData))
    }

    @Test func otherTypesAndReservedBytesAreUnknown() {
        for type in [UInt8(0), 5, 0x40, 255] {
            #expect(classify([type], 148) == .invalid(.unknownType))
        }
        for reserved in [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0x80]] as [[UInt8]] {
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
}
