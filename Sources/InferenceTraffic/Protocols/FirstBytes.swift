import PacketMemory

/// Tells protocols by what a connection begins with.
enum FirstBytes {
    enum Decision: Equatable {
        case undecided
        case unknown
        case `is`(StreamProtocol)
    }

    /// Undecided for less than ``countMax`` bytes only.
    static func decide(
        _ bytes: ByteRegion, _ side: StreamSide, _ vocabulary: borrowing Vocabulary
    ) -> Decision {
        if bytes[0] == 0x16 || bytes[0] == 0x17 { return decideTLS(bytes) }
        // RFC 4253, section 4.2: either side may send its version first.
        if isBeginning(bytes, of: .ssh, vocabulary) {
            return bytes.count == vocabulary.count(of: .ssh)
                ? .is(.ssh) : .undecided
        }
        return side == .client
            ? decideRequest(bytes, vocabulary) : decideSettings(bytes)
    }

    /// A record of handshake, or of application data where the beginning was not seen.
    private static func decideTLS(_ bytes: ByteRegion) -> Decision {
        if bytes.count > 1, bytes[1] != 3 { return .unknown }
        guard bytes.count == 3 else { return .undecided }
        return bytes[2] <= 4 ? .is(.tls) : .unknown
    }

    /// A method and a space, or the preface of HTTP/2 (RFC 9113, section 3.4).
    private static func decideRequest(
        _ bytes: ByteRegion, _ vocabulary: borrowing Vocabulary
    ) -> Decision {
        if isBeginning(bytes, of: .http2Preface, vocabulary) {
            return bytes.count == vocabulary.count(of: .http2Preface)
                ? .is(.http2) : .undecided
        }
        let last = bytes[bytes.count &- 1]
        if last == Byte.space, bytes.count >= 4 { return .is(.http1) }
        let isMethod = last &- 0x41 < 26 || last == UInt8(ascii: "-")
        return isMethod && bytes.count <= methodMax ? .undecided : .unknown
    }

    /// A server of HTTP/2 may send its SETTINGS before it has read anything.
    private static func decideSettings(_ bytes: ByteRegion) -> Decision {
        let place = bytes.count &- 1
        let isExpected =
            switch place {
            case 2: bytes[2] % 6 == 0
            case 3: bytes[3] == 4
            default: bytes[place] == 0
            }
        guard isExpected else { return .unknown }
        return place == 8 ? .is(.http2) : .undecided
    }

    private static func isBeginning(
        _ bytes: ByteRegion, of word: Word, _ vocabulary: borrowing Vocabulary
    ) -> Bool {
        guard bytes.count <= vocabulary.count(of: word) else { return false }
        for offset in 0..<bytes.count {
            let expected = vocabulary.byte(offset, of: word)
            if bytes[offset] != (expected &- 0x61 < 26 ? expected & ~0x20 : expected) {
                return false
            }
        }
        return true
    }

    static let methodMax = 16
    static let countMax = 24
}
