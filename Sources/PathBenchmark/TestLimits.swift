/// What one test may take.
public enum TestLimits {
    public static let streamsMax: UInt16 = 16
    /// How long one part may last.
    public static let secondsMax = 60
    /// A shorter part says nothing.
    public static let millisecondsMin: UInt32 = 100
    /// Parts that one client may ask for before it has to come again.
    public static let partsMax = 8
    /// How long a test may last from its greeting on, whatever the client does.
    public static let testSecondsMax = 240
    /// A client from which nothing has come for so long has gone: more than a part of probes takes,
    /// of which none need arrive.
    public static let idleSecondsMax = secondsMax + probeSecondsMax + answerSecondsMax + 3
    /// How long a message may take that the other side owes.
    public static let answerSecondsMax = 5
    /// What the server's own word on a part may take longer than the part, through full queues.
    public static let resultSecondsMax = 15
    /// How often either side is told how far it is.
    public static let progressMilliseconds = 250
    /// Between one probe and the next.
    public static let probeMilliseconds = 10
    /// How long the answers to the last probes are waited for.
    public static let probeSecondsMax = 2
    /// Probes that a server answers in a second.
    public static let probesPerSecondMax = 1000
    /// Connections that have not said yet what they are.
    public static let greetingsMax = 16
}
