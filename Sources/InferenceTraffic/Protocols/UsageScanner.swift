import PacketMemory

/// Looks for `"completion_tokens":N` and `"output_tokens":N` in the body of an answer, however it
/// is cut.
///
/// Within a JSON string the quotes would be escaped, so that what a model writes is not counted.
struct UsageScanner {
    private enum Phase: UInt8 {
        case idle, completion, output, colon, space, number
    }

    private var phase = Phase.idle
    private var position: UInt8 = 0
    private var number: UInt32 = 0
    /// The largest of this body: sums that grow from record to record are counted once.
    private var counted: UInt32 = 0

    init() {}

    /// - Returns: Tokens that the bytes newly account for.
    mutating func read(_ bytes: ByteRegion, vocabulary: borrowing Vocabulary) -> UInt32 {
        var tokens: UInt32 = 0
        for offset in 0..<bytes.count {
            let byte = bytes[offset]
            if phase == .idle {
                if byte == UInt8(ascii: "\"") { (phase, position) = (.completion, 0) }
            } else {
                tokens &+= step(byte, vocabulary: vocabulary)
            }
        }
        return tokens
    }

    /// Bytes are missing here.
    mutating func skip() { phase = .idle }

    mutating func end() { self = UsageScanner() }

    private mutating func step(_ byte: UInt8, vocabulary: borrowing Vocabulary) -> UInt32 {
        switch phase {
        case .idle: break
        case .completion, .output:
            if position == 0, byte == vocabulary.byte(0, of: .outputTokens) { phase = .output }
            let word = phase == .completion ? Word.completionTokens : .outputTokens
            if byte == vocabulary.byte(Int(position), of: word) {
                position &+= 1
                if Int(position) == vocabulary.count(of: word) { phase = .colon }
            } else {
                (phase, position) = (byte == UInt8(ascii: "\"") ? .completion : .idle, 0)
            }
        case .colon:
            if byte == UInt8(ascii: ":") {
                phase = .space
            } else if !Self.isSpace(byte) {
                (phase, position) = (byte == UInt8(ascii: "\"") ? .completion : .idle, 0)
            }
        case .space:
            if let digit = byte.decimalDigit {
                (phase, number) = (.number, UInt32(digit))
            } else if !Self.isSpace(byte) {
                (phase, position) = (byte == UInt8(ascii: "\"") ? .completion : .idle, 0)
            }
        case .number:
            if let digit = byte.decimalDigit {
                number = min(number &* 10 &+ UInt32(digit), Self.numberMax)
            } else {
                (phase, position) = (byte == UInt8(ascii: "\"") ? .completion : .idle, 0)
                return account()
            }
        }
        return 0
    }

    /// A number beyond any answer's length is a lie and counts nothing.
    private mutating func account() -> UInt32 {
        guard number < Self.numberMax, number > counted else { return 0 }
        defer { counted = number }
        return number &- counted
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
    }

    /// Times ten it still is a UInt32.
    private static var numberMax: UInt32 { 100_000_000 }
}

/// For memory that is not of Swift's making.
extension UsageScanner {
    static let byteCount = 12

    init(reading region: ByteRegion) {
        phase = Phase(rawValue: region[0]) ?? .idle
        position = region[1]
        number = region.bigEndian32(at: 4)
        counted = region.bigEndian32(at: 8)
    }

    func write(to region: ByteRegion) {
        region[0] = phase.rawValue
        region[1] = position
        region.storeBigEndian(number, at: 4)
        region.storeBigEndian(counted, at: 8)
    }
}
