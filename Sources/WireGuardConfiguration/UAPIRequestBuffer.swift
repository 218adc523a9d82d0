internal import Cryptography

/// Cuts the bytes of one connection into requests.
///
/// A connection may carry any number of requests, one after the other. They may hold keys, so
/// nothing of them stays where they have been.
public struct UAPIRequestBuffer: Sendable {
    private var bytes: [UInt8] = []
    /// How far the search for an empty line has come, as an offset into `bytes`.
    private var searched = 0
    /// Where the line that the search is in begins.
    private var lineStart = 0

    public init() {}

    /// Whether bytes of an unfinished request are here.
    public var isEmpty: Bool { bytes.isEmpty }

    /// Lets `body` append what it receives, at most `byteCountMax` bytes.
    public mutating func receive<Result>(
        upTo byteCountMax: Int, _ body: (inout [UInt8]) -> Result
    ) -> Result {
        bytes.reserveWiping(byteCountMax)
        return body(&bytes)
    }

    /// Forgets everything.
    public mutating func wipe() {
        bytes.wipe()
    }

    /// Takes the next whole request out of the buffer.
    ///
    /// - Returns: Its lines with the empty one at the end, or `nil` until more is received. The
    ///   caller wipes it.
    /// - Throws: When no request can come of the bytes: answer the error, then close.
    public mutating func next() throws(UAPIError) -> [UInt8]? {
        guard let end = try endOfRequest() else {
            if bytes.count > ConfigurationLimits.textBytesMax { throw UAPI.tooLarge }
            try refuseUnknownOperation()
            return nil
        }
        let request = Array(bytes[..<end])
        bytes.removeFirstWiping(end)
        searched = 0
        lineStart = 0
        return request
    }

    /// - Returns: The offset behind the first empty line.
    /// - Throws: Once a line is too long, whether its end has come or not.
    private mutating func endOfRequest() throws(UAPIError) -> Int? {
        var offset = max(searched, 1)
        while offset < bytes.count {
            if bytes[offset] == newline {
                if bytes[offset - 1] == newline { return offset + 1 }
                lineStart = offset + 1
            } else if offset - lineStart >= ConfigurationLimits.lineBytesMax {
                throw UAPI.tooLarge
            }
            offset += 1
        }
        searched = bytes.count
        return nil
    }

    /// Answers nonsense at once instead of waiting for an empty line that may never come.
    private func refuseUnknownOperation() throws(UAPIError) {
        guard let firstEnd = bytes.firstIndex(of: newline) else {
            if bytes.count > ConfigurationLimits.lineBytesMax { throw UAPI.tooLarge }
            return
        }
        let first = bytes[..<firstEnd]
        let hasMore = ["set=1", "set_qos=1", "flows=1"]
        if hasMore.contains(where: { first.elementsEqual($0.utf8) }) { return }
        let isAlone = ["get=1", "status=1", "qos=1"]
        if bytes.count == firstEnd + 1, isAlone.contains(where: { first.elementsEqual($0.utf8) }) {
            return
        }
        _ = try UAPI.parse(request: bytes)
    }

    private var newline: UInt8 { UInt8(ascii: "\n") }
}
