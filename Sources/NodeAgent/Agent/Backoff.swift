/// How long to wait before the coordinator is asked again: longer each time, and never the same
/// for all nodes, so that they do not come back together.
///
/// Source: "full jitter", M. Brooker, Exponential Backoff And Jitter, 2015.
public struct Backoff: Sendable {
    private var failures = 0

    public init() {}

    /// - Parameter random: 0 to 1.
    /// - Returns: Milliseconds. The first retry is quick: most streams end because a coordinator
    ///   restarts or hands over.
    public mutating func next(random: Double) -> Int64 {
        let ceiling = failures == 0
            ? Self.firstMilliseconds
            : min(Self.baseMilliseconds << Int64(min(failures - 1, 20)), Self.maxMilliseconds)
        failures += 1
        return Int64(random * Double(ceiling))
    }

    /// The coordinator answers as it should.
    public mutating func reset() { failures = 0 }

    private static var firstMilliseconds: Int64 { 100 }
    private static var baseMilliseconds: Int64 { 500 }
    private static var maxMilliseconds: Int64 { 60_000 }
}
