/// What bounds clients of the coordinator's interface. Every limit has a name and a default.
public struct HTTPLimits: Hashable, Sendable {
    // Sizes in bytes.
    /// Request line and header fields together.
    public var headBytesMax = 16 << 10
    public var headerFieldsMax = 64
    public var bodyBytesMax = 64 << 10
    /// Policies may have a thousand rules and as many tests.
    public var policyBodyBytesMax = 512 << 10
    /// Revocation lists may be as large as `TrustLimits.revocationListBytesMax`, and have a chain
    /// and JSON around them.
    public var revocationBodyBytesMax = 2560 << 10

    // Durations in seconds.
    /// From the first byte of a connection to the end of a request's head, TLS included.
    public var headSeconds: Int64 = 10
    public var bodySeconds: Int64 = 10
    /// For bodies of more than `bodyBytesMax`.
    public var revocationBodySeconds: Int64 = 30
    /// How long a client may take to read an answer that is ready.
    public var responseSeconds: Int64 = 30
    /// How long a connection is kept between two requests.
    public var idleSeconds: Int64 = 60
    /// A connection whose request was refused unread is read from for so long, so that the answer
    /// arrives before the reset does.
    public var lingerSeconds: Int64 = 2

    // Counts.
    /// Connections that are not watch streams.
    public var connectionsMax = 4096
    public var connectionsPerAddressMax = 1024
    public var watchersMax = 20_000
    /// Streams that one node may hold; a further one ends its oldest.
    public var watchersPerNodeMax = 2
    /// Client addresses and principals whose rates are remembered.
    public var rateEntriesMax = 65_536

    // Rates: how many at once, and how many a second after that.
    /// Of a client address, before authentication.
    public var requests = Rate(burst: 4000, perSecond: 1000)
    /// Failed authentications of a client address.
    public var failures = Rate(burst: 20, perSecond: 0.5)
    /// Enrolments and set-ups of a client address.
    public var enrolments = Rate(burst: 200, perSecond: 50)
    /// Of an authenticated principal.
    public var principal = Rate(burst: 2000, perSecond: 500)

    public init() {}
}
