/// What bounds access and QoS policies.
public enum PolicyLimits {
    public static var rulesMax: Int { 1_000 }
    public static var testsMax: Int { 1_000 }
    public static var servicesMax: Int { 1_000 }
    /// Networks of one service.
    public static var destinationsMax: Int { 64 }
    /// Groups of one side of a rule.
    public static var groupsMax: Int { 64 }
    public static var portsMax: Int { 64 }
    /// Port ranges of all services of a QoS policy together: what compares them, and what workers
    /// look them up in, is made while others wait.
    public static var servicePortsMax: Int { 4_096 }
    /// Of the name of a rule or service, in bytes.
    public static var nameBytesMax: Int { 128 }
    public static var weightMax: Int { 1_000 }
    /// In bits per second.
    public static var rateMax: Int64 { 1_000_000_000_000_000 }
    public static var priorityPercents: ClosedRange<Int> { 1...95 }
    public static var deadlineMilliseconds: ClosedRange<Int> { 1...1_000 }
    /// Of a line, in bits per second.
    public static var linkRates: ClosedRange<Int64> { 8_000...10_000_000_000_000 }
    public static var overheadBytes: ClosedRange<Int> { 0...256 }
    /// Nodes whose line a QoS policy knows, and peers of a local file.
    public static var linksMax: Int { 16_384 }
    /// Of a budget: a year at most.
    public static var budgetSeconds: ClosedRange<Int> { 1...31_622_400 }
    /// Of a local file.
    public static var fileBytesMax: Int { 4 << 20 }
}
