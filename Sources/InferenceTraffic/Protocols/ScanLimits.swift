/// What scanners are allowed to hold and to wait for.
public enum ScanLimits {
    /// Bytes of one message's line and header fields, framing of HTTP/2 included.
    public static let headBytesMax = 65_536
    /// Between the first and the last byte of a head.
    public static let headNanosecondsMax: UInt64 = 10_000_000_000
    /// Requests of an HTTP/1.1 connection that wait for their responses.
    public static let pipelineMax = 32
    /// Streams of an HTTP/2 connection that are followed one by one.
    public static let streamsMax = 8
    /// Bytes of a `chunk-ext`.
    public static let chunkExtensionBytesMax = 256
}
