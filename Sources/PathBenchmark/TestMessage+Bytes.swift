/// Why bytes are no message.
public enum TestMessageFault: Error, Hashable, Sendable {
    /// They are not of this protocol at all.
    case foreign
    /// The other side speaks another version, this one.
    case version(UInt8)
    /// They begin as a message does, and are none.
    case malformed
}

extension TestMessage {
    /// Of each message, in bytes.
    public static let byteCount = 64

    /// A version speaks with its own kind only.
    public static let version: UInt8 = 1

    /// Numbers are big-endian; bytes that a message does not use are zero:
    ///
    ///     0   8  magic
    ///     8   1  version
    ///     9   1  kind
    ///     10  1  direction or refusal
    ///     11  1  zero
    ///     12  4  milliseconds
    ///     16  16 token
    ///     32  8  bytes, or a probe's number
    ///     40  8  nanoseconds
    ///     48  8  segments sent again
    ///     56  2  number of streams
    ///     58  6  zero
    public var bytes: [UInt8] {
        var fields = Fields()
        switch self {
        case .greeting: fields.kind = Kind.greeting
        case .welcome(let token, let offer):
            fields.kind = Kind.welcome
            fields.token = token
            fields.streamCount = offer.streamsMax
            fields.milliseconds = offer.millisecondsMax
        case .refusal(let refusal):
            fields.kind = Kind.refusal
            fields.code = refusal.rawValue
        case .request(let direction, let streamCount, let milliseconds):
            fields.kind = Kind.request
            fields.code = direction.rawValue
            fields.streamCount = streamCount
            fields.milliseconds = milliseconds
        case .stream(let token):
            fields.kind = Kind.stream
            fields.token = token
        case .ready: fields.kind = Kind.ready
        case .started: fields.kind = Kind.started
        case .progress(let transfer):
            fields.kind = Kind.progress
            fields.transfer = transfer
        case .result(let transfer):
            fields.kind = Kind.result
            fields.transfer = transfer
        case .probe(let token, let number):
            fields.kind = Kind.probe
            fields.token = token
            fields.transfer.byteCount = number
        }
        return fields.bytes
    }

    /// Reads a message of exactly ``byteCount`` bytes. Unused bytes have to be zero.
    public init(_ bytes: [UInt8]) throws(TestMessageFault) {
        let fields = try Fields(bytes)
        guard let message = TestMessage(fields), message.bytes == bytes else { throw .malformed }
        self = message
    }

    private init?(_ fields: Fields) {
        switch fields.kind {
        case Kind.greeting: self = .greeting
        case Kind.welcome:
            self = .welcome(
                fields.token,
                Offer(streamsMax: fields.streamCount, millisecondsMax: fields.milliseconds))
        case Kind.refusal:
            guard let refusal = Refusal(rawValue: fields.code) else { return nil }
            self = .refusal(refusal)
        case Kind.request:
            guard let direction = Direction(rawValue: fields.code) else { return nil }
            self = .request(
                direction, streamCount: fields.streamCount, milliseconds: fields.milliseconds)
        case Kind.stream: self = .stream(fields.token)
        case Kind.ready: self = .ready
        case Kind.started: self = .started
        case Kind.progress: self = .progress(fields.transfer)
        case Kind.result: self = .result(fields.transfer)
        case Kind.probe: self = .probe(fields.token, number: fields.transfer.byteCount)
        default: return nil
        }
    }

    private enum Kind {
        static let greeting: UInt8 = 1
        static let welcome: UInt8 = 2
        static let refusal: UInt8 = 3
        static let request: UInt8 = 4
        static let stream: UInt8 = 5
        static let started: UInt8 = 6
        static let progress: UInt8 = 7
        static let result: UInt8 = 8
        static let probe: UInt8 = 9
        static let ready: UInt8 = 10
    }
}

/// All fields that any message has.
private struct Fields {
    var kind: UInt8 = 0
    var code: UInt8 = 0
    var streamCount: UInt16 = 0
    var milliseconds: UInt32 = 0
    var token = TestToken(high: 0, low: 0)
    var transfer = TestMessage.Transfer(byteCount: 0, nanoseconds: 0, retransmissions: 0)

    init() {}

    init(_ bytes: [UInt8]) throws(TestMessageFault) {
        guard bytes.count == TestMessage.byteCount, bytes.starts(with: Self.magic) else {
            throw .foreign
        }
        guard bytes[8] == TestMessage.version else { throw .version(bytes[8]) }
        func number<Number: FixedWidthInteger>(at offset: Int, as _: Number.Type) -> Number {
            bytes[offset..<offset + Number.bitWidth / 8].reduce(0) { $0 << 8 | Number($1) }
        }
        kind = bytes[9]
        code = bytes[10]
        milliseconds = number(at: 12, as: UInt32.self)
        token = TestToken(
            high: number(at: 16, as: UInt64.self), low: number(at: 24, as: UInt64.self))
        transfer = TestMessage.Transfer(
            byteCount: number(at: 32, as: UInt64.self),
            nanoseconds: number(at: 40, as: UInt64.self),
            retransmissions: number(at: 48, as: UInt64.self))
        streamCount = number(at: 56, as: UInt16.self)
    }

    var bytes: [UInt8] {
        var bytes = Self.magic + [TestMessage.version, kind, code, 0]
        bytes.reserveCapacity(TestMessage.byteCount)
        func append(_ number: some FixedWidthInteger) {
            for shift in stride(from: number.bitWidth - 8, through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: number >> shift))
            }
        }
        append(milliseconds)
        append(token.high)
        append(token.low)
        append(transfer.byteCount)
        append(transfer.nanoseconds)
        append(transfer.retransmissions)
        append(streamCount)
        return bytes + repeatElement(0, count: TestMessage.byteCount - bytes.count)
    }

    /// "BLBENCH" and a line's end, so that what speaks in lines answers soon.
    static let magic: [UInt8] = [0x42, 0x4C, 0x42, 0x45, 0x4E, 0x43, 0x48, 0x0A]
}
