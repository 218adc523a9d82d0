/// Requests as a service recorded them, in the CSV form of the Azure LLM inference traces:
/// `TIMESTAMP,ContextTokens,GeneratedTokens`, one request a line.
public struct RequestTrace: Sendable, Equatable {
    /// One recorded request.
    public struct Request: Sendable, Equatable {
        /// Size of the prompt, in tokens.
        public let promptTokenCount: Int
        /// Size of the answer, in tokens, at least 1.
        public let outputTokenCount: Int
    }

    /// At least one, in the file's order.
    public let requests: [Request]

    /// Reads a trace.
    /// - Parameter text: The whole file; a first line that starts with a column name is skipped.
    /// - Throws: ``RequestTraceError``, naming the line.
    public init(csv text: String) throws(RequestTraceError) {
        var requests: [Request] = []
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        for (index, line) in lines.enumerated() {
            if line.isEmpty || (index == 0 && line.first?.isLetter == true) { continue }
            guard requests.count < Self.requestsMax else {
                throw RequestTraceError(line: index + 1, reason: .tooManyRequests)
            }
            requests.append(try Self.request(line, number: index + 1))
        }
        guard !requests.isEmpty else { throw RequestTraceError(line: 1, reason: .noRequests) }
        self.requests = requests
    }

    private static func request(
        _ line: Substring, number: Int
    ) throws(RequestTraceError) -> Request {
        let fields = line.split(separator: ",", omittingEmptySubsequences: false)
        guard fields.count == 3 else {
            throw RequestTraceError(line: number, reason: .fieldCount(fields.count))
        }
        guard let prompt = Int(fields[1]), let output = Int(fields[2]),
            (0...tokensMax).contains(prompt), (1...tokensMax).contains(output)
        else {
            throw RequestTraceError(line: number, reason: .tokenCount)
        }
        return Request(promptTokenCount: prompt, outputTokenCount: output)
    }

    /// Bounds the memory that a trace may take.
    static let requestsMax = 5_000_000
    /// Larger counts are taken for a damaged file.
    static let tokensMax = 10_000_000
}

/// Why a trace cannot be read.
public struct RequestTraceError: Error, Equatable, CustomStringConvertible {
    enum Reason: Equatable {
        case noRequests
        case tooManyRequests
        case fieldCount(Int)
        case tokenCount
    }

    let line: Int
    let reason: Reason

    public var description: String {
        switch reason {
        case .noRequests:
            "the trace holds no request"
        case .tooManyRequests:
            "line \(line): more than \(RequestTrace.requestsMax) requests"
        case .fieldCount(let count):
            """
            line \(line): found \(count) of the 3 fields \
            arrival time, prompt tokens, generated tokens
            """
        case .tokenCount:
            """
            line \(line): token counts must be whole numbers, \
            at least 1 generated, at most \(RequestTrace.tokensMax)
            """
        }
    }
}
