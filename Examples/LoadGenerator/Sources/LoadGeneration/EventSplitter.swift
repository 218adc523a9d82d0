/// Cuts a stream of bytes into server-sent events, wherever its pieces begin and end.
///
/// Only the data of events is kept: names, numbers and comments mean nothing to the OpenAI API.
///
/// Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
struct EventSplitter: Sendable {
    private var line: [UInt8] = []
    private var data: [UInt8] = []
    private var hasData = false
    private var endedInReturn = false
    /// Whether a line or an event was longer than the limit, and its end was cut off.
    private(set) var hasOverflowed = false

    /// - Parameter event: Called with the data of each event that is complete.
    mutating func take(
        _ piece: some Sequence<UInt8>, event: (_ data: [UInt8]) -> Void
    ) {
        for byte in piece {
            let followsReturn = endedInReturn
            endedInReturn = byte == Self.carriageReturn
            switch byte {
            case Self.lineFeed where followsReturn:
                continue
            case Self.lineFeed, Self.carriageReturn:
                endLine(event)
            default:
                if line.count < Self.lineBytesMax {
                    line.append(byte)
                } else {
                    hasOverflowed = true
                }
            }
        }
    }

    private mutating func endLine(_ event: (_ data: [UInt8]) -> Void) {
        defer { line.removeAll(keepingCapacity: true) }
        if line.isEmpty {
            if hasData { event(data) }
            data.removeAll(keepingCapacity: true)
            hasData = false
            return
        }
        guard line.starts(with: Self.dataField) else { return }
        var value = line[Self.dataField.count...]
        guard value.first == Self.colon || value.isEmpty else { return }
        value = value.dropFirst()
        if value.first == Self.space { value = value.dropFirst() }
        if hasData { data.append(Self.lineFeed) }
        hasData = true
        if data.count + value.count <= Self.lineBytesMax {
            data += value
        } else {
            hasOverflowed = true
        }
    }

    private static let dataField = Array("data".utf8)
    private static let lineFeed = UInt8(ascii: "\n")
    private static let carriageReturn = UInt8(ascii: "\r")
    private static let colon = UInt8(ascii: ":")
    private static let space = UInt8(ascii: " ")
    /// Largest line, and largest event.
    static let lineBytesMax = 1 << 20
}
