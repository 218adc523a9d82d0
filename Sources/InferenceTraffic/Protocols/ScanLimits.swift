/// What scanners are allowed to hold and to wait for.
public enum ScanLimits {
    /// Bytes of one message's line and header fields, framing of HTTP/2 included.
    public static let headBytesMax = 65_536
    /// Between the first and the last byte of a head.
    public static let headNanosecondsMax: UInt64 = 10_000_000_000
    /// Of a connection, of all its heads, and so many at once: two of the longest.
    public static let headBytesPerSecond: UInt64 = 65_536
    public static let headBurstBytes: UInt32 = 131_072
    /// Bytes of a value that is searched for words.
    static let objectiveBytesMax = 32
    /// Requests of an HTTP/1.1 connection that wait for their responses.
    public static let pipelineMax = 32
    /// Streams of an HTTP/2 connection that are followed one by one.
    public static let streamsMax = 8
    /// Bytes of a `chunk-ext`.
    public static let chunkExtensionBytesMax = 256
}
