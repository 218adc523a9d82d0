public import PacketFormats

/// How the classes of a path share what it may send.
public struct ClassPolicy: Sendable, Hashable {
    /// Of what `token` and `activation` are served while others wait: so much of the bytes, 0...99.
    /// They are first up to here, and compete by weight beyond.
    public let priorityPercent: Int
    /// How long a frame of `activation` may wait; before it misses this, it goes before `token`.
    public let activationDeadlineNanoseconds: UInt64
    /// By class; 1...1,000.
    private let weights: ClassTable<UInt32>

    /// What is out of range is clamped.
    ///
    /// - Parameter weights: A class without one has the standard weight.
    public init(
        weights: [TrafficClass: Int] = [:], priorityPercent: Int = 80,
        activationDeadlineNanoseconds: UInt64 = 10_000_000
    ) {
        self.priorityPercent = max(0, min(priorityPercent, 99))
        self.activationDeadlineNanoseconds = max(
            1_000_000, min(activationDeadlineNanoseconds, 10_000_000_000))
        var table = ClassTable<UInt32>(repeating: 1)
        for trafficClass in TrafficClass.allCases {
            let weight = weights[trafficClass] ?? Self.standardWeight(of: trafficClass)
            table[trafficClass] = UInt32(max(1, min(weight, Self.weightMax)))
        }
        self.weights = table
    }

    public func weight(of trafficClass: TrafficClass) -> Int { Int(weights[trafficClass]) }

    /// - Parameter level: The class's raw value.
    @inline(__always)
    func weight(at level: Int) -> UInt32 { weights[level] }

    public static func standardWeight(of trafficClass: TrafficClass) -> Int {
        switch trafficClass {
        case .control, .token, .activation, .prompt: 10
        case .bulk: 3
        case .background: 1
        }
    }

    public static let weightMax = 1_000
}
