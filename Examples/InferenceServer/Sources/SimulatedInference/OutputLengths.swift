/// Where the number of tokens of an answer comes from.
public enum OutputLengths: Sendable {
    /// Drawn from a distribution, one draw a request.
    case drawn(QuantileTable)
    /// Taken from a trace, row by row, and from its start again after the last.
    case replayed(RequestTrace)
    /// The same for every request, in tokens.
    case fixed(Int)

    /// The length of one answer, in tokens, at least 1.
    /// - Parameters:
    ///   - ordinal: How many requests came before.
    ///   - generator: Spent only by `drawn`.
    func length(ordinal: UInt64, using generator: inout SeededGenerator) -> Int {
        switch self {
        case .drawn(let table):
            return table.size(at: generator.nextUnit())
        case .replayed(let trace):
            return trace.requests[Int(ordinal % UInt64(trace.requests.count))].outputTokenCount
        case .fixed(let count):
            return max(1, count)
        }
    }
}
