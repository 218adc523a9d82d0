import PacketFormats
import PacketMemory

/// A header field that means something for classes.
enum HTTPField: UInt8 {
    case other
    case method, path, status
    case contentLength, contentType, transferEncoding
    case objective, firstTokenMilliseconds
}

/// The words that scanners know, laid out for comparisons, and what fields mean by them.
struct Vocabulary: ~Copyable {
    private let arena: ByteArena
    /// Where each word begins, and at last where all end.
    private var starts: FixedTable<UInt16>

    init() {
        let words = Word.allCases.map { Array($0.spelling.utf8) }
        arena = ByteArena(count: words.reduce(0) { $0 + $1.count })
        starts = FixedTable(repeating: 0, count: words.count + 1)
        var place = 0
        for (index, word) in words.enumerated() {
            for (offset, byte) in word.enumerated() { arena.whole[place + offset] = byte }
            place += word.count
            starts[index + 1] = UInt16(place)
        }
    }

    func count(of word: Word) -> Int { Int(starts[word.rawValue + 1] - starts[word.rawValue]) }

    func byte(_ offset: Int, of word: Word) -> UInt8 {
        arena.whole[Int(starts[word.rawValue]) + offset]
    }

    /// Letters compare whatever their case.
    func isEqual(_ bytes: ByteRegion, _ word: Word) -> Bool {
        bytes.count == count(of: word) && hasPrefix(bytes, word)
    }

    func hasPrefix(_ bytes: ByteRegion, _ word: Word) -> Bool {
        let count = count(of: word)
        guard bytes.count >= count else { return false }
        for offset in 0..<count where bytes[offset].lowercased != byte(offset, of: word) {
            return false
        }
        return true
    }

    func contains(_ bytes: ByteRegion, _ word: Word) -> Bool {
        let count = count(of: word)
        guard bytes.count >= count else { return false }
        for start in 0...bytes.count - count where hasPrefix(bytes.region(from: start), word) {
            return true
        }
        return false
    }

    private func first(of words: ClosedRange<Int>, equalTo bytes: ByteRegion) -> Word? {
        for number in words {
            if let word = Word(rawValue: number), isEqual(bytes, word) { return word }
        }
        return nil
    }

    // MARK: - Fields

    /// - Parameter name: Whole.
    func field(named name: ByteRegion) -> HTTPField {
        switch first(of: Word.fieldMethod.rawValue...Word.fieldFirstToken.rawValue, equalTo: name) {
        case .fieldMethod: .method
        case .fieldPath: .path
        case .fieldStatus: .status
        case .fieldContentLength: .contentLength
        case .fieldContentType: .contentType
        case .fieldTransferEncoding: .transferEncoding
        case .fieldObjective: .objective
        case .fieldFirstToken: .firstTokenMilliseconds
        default: .other
        }
    }

    /// What a field says, as a number below 2^62: the raw value of its enum, or the number itself.
    ///
    /// - Parameters:
    ///   - value: Without white space around it.
    ///   - isWhole: Whether nothing was cut off its end.
    /// - Returns: `nil` if nobody may rely on the value.
    func meaning(of field: HTTPField, _ value: ByteRegion, isWhole: Bool) -> UInt64? {
        switch field {
        case .other: 0
        case .method: UInt64(method(value, isWhole: isWhole).rawValue)
        case .path: UInt64(path(value, isWhole: isWhole).rawValue)
        case .status: isWhole && value.count == 3 ? Self.number(value) : nil
        case .contentLength: isWhole ? Self.number(value) : nil
        case .contentType: UInt64(contentType(value).rawValue)
        case .transferEncoding: isWhole && isEqual(value, .chunked) ? 1 : nil
        case .objective: UInt64(objective(value).rawValue)
        case .firstTokenMilliseconds:
            isWhole ? min(Self.number(value) ?? Self.noNumber, Self.noNumber) : Self.noNumber
        }
    }

    /// Of `x-slo-ttft-ms` that is none.
    static var noNumber: UInt64 { 0x7FFF_FFFF }

    /// Decimal digits only, at most 18: RFC 9110, section 8.6.
    private static func number(_ value: ByteRegion) -> UInt64? {
        guard value.count > 0, value.count <= 18 else { return nil }
        var number: UInt64 = 0
        for offset in 0..<value.count {
            guard let digit = value[offset].decimalDigit else { return nil }
            number = number &* 10 &+ UInt64(digit)
        }
        return number
    }

    /// Methods are case-sensitive: RFC 9110, section 9.1.
    private func method(_ value: ByteRegion, isWhole: Bool) -> RequestMethod {
        for offset in 0..<value.count where value[offset] & 0x20 != 0 { return .other }
        guard isWhole else { return .other }
        switch first(of: Word.get.rawValue...Word.connect.rawValue, equalTo: value) {
        case .get: return .get
        case .head: return .head
        case .post: return .post
        case .put: return .put
        case .delete: return .delete
        case .options: return .options
        case .connect: return .connect
        default: return .other
        }
    }

    private func contentType(_ value: ByteRegion) -> ContentType {
        if hasPrefix(value, .eventStream) { return .eventStream }
        if hasPrefix(value, .grpcType) { return .grpc }
        if hasPrefix(value, .ndjson) || hasPrefix(value, .plainNDJSON)
            || hasPrefix(value, .jsonLines) || hasPrefix(value, .jsonSequence)
            || hasPrefix(value, .streamJSON)
        {
            return .jsonLines
        }
        if hasPrefix(value, .json) { return .json }
        return .other
    }

    /// One pass: a name is told by its first letter.
    private func objective(_ value: ByteRegion) -> Objective {
        guard value.count <= ScanLimits.objectiveBytesMax else { return .other }
        var found = Objective.other
        for start in 0..<value.count {
            let rest = value.region(from: start)
            switch rest[0].lowercased {
            case UInt8(ascii: "b"):
                if hasPrefix(rest, .batch) || hasPrefix(rest, .background)
                    || hasPrefix(rest, .bulk) || hasPrefix(rest, .bestEffort)
                {
                    return .batch
                }
            case UInt8(ascii: "o"): if hasPrefix(rest, .offline) { return .batch }
            case UInt8(ascii: "s"): if hasPrefix(rest, .sheddable) { return .batch }
            case UInt8(ascii: "t"): if hasPrefix(rest, .throughput) { return .batch }
            case UInt8(ascii: "i"): if hasPrefix(rest, .interactive) { found = .interactive }
            case UInt8(ascii: "r"):
                if hasPrefix(rest, .realtime) || hasPrefix(rest, .realTime) {
                    found = .interactive
                }
            case UInt8(ascii: "c"):
                if hasPrefix(rest, .chat) || hasPrefix(rest, .critical) { found = .interactive }
            case UInt8(ascii: "p"): if hasPrefix(rest, .premium) { found = .interactive }
            case UInt8(ascii: "l"): if hasPrefix(rest, .latency) { found = .interactive }
            default: break
            }
        }
        return found
    }

    // MARK: - Paths

    /// The last segment says what a request generates, any segment what it stores or moves.
    private func path(_ value: ByteRegion, isWhole: Bool) -> PathClass {
        var (end, isWhole) = (value.count, isWhole)
        for offset in 0..<value.count where value[offset] == UInt8(ascii: "?") {
            (end, isWhole) = (offset, true)
            break
        }
        var found = PathClass.other
        var start = 0
        while start < end {
            var stop = start
            while stop < end, value[stop] != UInt8(ascii: "/") { stop &+= 1 }
            let isLast = stop == end
            if stop > start, !isLast || isWhole {
                let segment = value.region(at: start, count: stop &- start)
                let meaning = segmentClass(segment, isLast: isLast)
                if meaning != .other { found = meaning }
            }
            start = stop &+ 1
        }
        return found
    }

    private func segmentClass(_ segment: ByteRegion, isLast: Bool) -> PathClass {
        let anywhere = Word.batches.rawValue...Word.resolve.rawValue
        switch first(of: anywhere, equalTo: segment) {
        case .batches: return .batches
        case .files, .uploads: return .files
        case .some: return .transfer
        case nil: break
        }
        guard isLast else { return .other }
        if first(of: Word.embeddings.rawValue...Word.embed.rawValue, equalTo: segment) != nil {
            return .embeddings
        }
        let generation = Word.completions.rawValue...Word.predict.rawValue
        if first(of: generation, equalTo: segment) != nil || contains(segment, .generateContent) {
            return .generation
        }
        return .other
    }
}

extension UInt8 {
    /// ASCII.
    @inline(__always)
    var lowercased: UInt8 { self &- 0x41 < 26 ? self | 0x20 : self }

    @inline(__always)
    var decimalDigit: UInt8? {
        let digit = self &- UInt8(ascii: "0")
        return digit < 10 ? digit : nil
    }

    @inline(__always)
    var hexadecimalDigit: UInt8? {
        if let digit = decimalDigit { return digit }
        let letter = lowercased &- UInt8(ascii: "a")
        return letter < 6 ? letter &+ 10 : nil
    }
}
