/// Requests as a service recorded them, in the CSV form of the Azure LLM inference traces:
/// `TIMESTAMP,ContextTokens,GeneratedTokens`, one request a line, in order of arrival.
public struct RequestTrace: Sendable, Equatable {
    public struct Request: Sendable, Equatable {
        /// Since the trace's first request.
        public let arrivalSeconds: Double
        public let promptTokenCount: Int
        /// At least 1.
        public let outputTokenCount: Int
    }

    /// At least one.
    public let requests: [Request]

    /// Reads a trace.
    ///
    /// - Parameter text: The whole file; a first line that starts with a letter is skipped.
    public init(csv text: String) throws(RequestTraceError) {
        var requests: [Request] = []
        var first: Double?
        var latest = -Double.infinity
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        for (index, line) in lines.enumerated() {
            if line.isEmpty || (index == 0 && line.first?.isLetter == true) { continue }
            let number = index + 1
            guard requests.count < Self.requestsMax else {
                throw RequestTraceError(line: number, reason: .tooManyRequests)
            }
            let fields = line.split(separator: ",", omittingEmptySubsequences: false)
            guard fields.count == 3 else {
                throw RequestTraceError(line: number, reason: .fieldCount(fields.count))
            }
            guard let time = Self.seconds(of: fields[0]) else {
                throw RequestTraceError(line: number, reason: .time(String(fields[0])))
            }
            guard time >= latest else { throw RequestTraceError(line: number, reason: .order) }
            guard let prompt = Int(fields[1]), let output = Int(fields[2]),
                (0...Self.tokensMax).contains(prompt), (1...Self.tokensMax).contains(output)
            else { throw RequestTraceError(line: number, reason: .tokenCount) }
            latest = time
            let start = first ?? time
            first = start
            requests.append(
                Request(
                    arrivalSeconds: time - start, promptTokenCount: prompt,
                    outputTokenCount: output))
        }
        guard !requests.isEmpty else { throw RequestTraceError(line: 1, reason: .noRequests) }
        self.requests = requests
    }

    /// `2023-11-16 18:15:46.6805900`, or a plain number of seconds; from an arbitrary beginning.
    private static func seconds(of field: Substring) -> Double? {
        if let plain = Double(field) { return plain.isFinite ? plain : nil }
        let halves = field.split(whereSeparator: { $0 == " " || $0 == "T" })
        guard halves.count == 2 else { return nil }
        let date = halves[0].split(separator: "-").compactMap { Int($0) }
        let time = halves[1].split(separator: ":").compactMap { Double($0) }
        guard date.count == 3, time.count == 3, (1...12).contains(date[1]),
            (1...31).contains(date[2]), (0...9_999).contains(date[0]),
            time.allSatisfy({ $0 >= 0 && $0 <= 60 })
        else { return nil }
        let days = daysBeforeYear(of: date) + daysInYear(of: date) - daysBeforeRecent
        return Double(days) * 86_400 + time[0] * 3_600 + time[1] * 60 + time[2]
    }

    /// Years that begin in March have their leap day last.
    private static func daysBeforeYear(of date: [Int]) -> Int {
        let year = date[1] > 2 ? date[0] : date[0] - 1
        return 365 * year + year / 4 - year / 100 + year / 400
    }

    private static func daysInYear(of date: [Int]) -> Int {
        let month = (date[1] + 9) % 12
        return (153 * month + 2) / 5 + date[2]
    }

    /// Days up to the year 2000 or so: fractions of a second survive beside small numbers only.
    private static let daysBeforeRecent = 730_000

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
        case time(String)
        case order
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
        case .time(let text):
            "line \(line): '\(text)' is no time like 2023-11-16 18:15:46.68, nor seconds"
        case .order:
            "line \(line): the request arrives before the one above it"
        case .tokenCount:
            """
            line \(line): token counts must be whole numbers, \
            at least 1 generated, at most \(RequestTrace.tokensMax)
            """
        }
    }
}
