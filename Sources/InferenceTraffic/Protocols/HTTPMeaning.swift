/// What an HTTP request does, as far as classes need it.
public enum RequestMethod: UInt8, Sendable {
    case other, get, head, post, put, delete, options, connect
}

/// What a request's path says of its purpose; nothing else of the path is kept.
public enum PathClass: UInt8, Sendable {
    case other
    /// `…/chat/completions`, `…/completions`, `…/responses`, `…/messages`, `/api/generate`,
    /// `/api/chat`, `/generate`, `/generate_stream` and the like.
    case generation
    /// `…/embeddings`, `/api/embed`.
    case embeddings
    /// `…/batches`.
    case batches
    /// `…/files`, `…/uploads`.
    case files
    /// KV-cache or model transfer: `…/kv…`, `…/blobs/…`, `…/resolve/…`.
    case transfer
}

/// What a `content-type` says (RFC 9110, section 8.3).
public enum ContentType: UInt8, Sendable {
    case none
    case other
    case json
    /// `text/event-stream`: server-sent events.
    case eventStream
    /// `application/x-ndjson`, `application/jsonl`, `application/json-seq` and the like.
    case jsonLines
    /// `application/grpc` and its subtypes.
    case grpc
}

/// What `x-gateway-inference-objective` asks for, by its name of at most 32 bytes.
public enum Objective: UInt8, Sendable {
    case none
    case other
    /// Holds interactive, realtime, chat, critical, premium or latency.
    case interactive
    /// Holds batch, background, offline, bulk, sheddable, best-effort or throughput.
    case batch
}

/// What a request's line and header fields say.
public struct RequestSummary: Sendable, Hashable {
    public var method = RequestMethod.other
    public var path = PathClass.other
    public var contentType = ContentType.none
    public var objective = Objective.none
    /// Value of `x-slo-ttft-ms`; -1 where there is none.
    public var firstTokenMilliseconds: Int32 = -1
    /// Bytes of the body; -1 where the head does not say. At most 2^40 - 1.
    public var contentLength: Int64 = -1

    public init() {}
}

/// What a final response's status and header fields say.
public struct ResponseSummary: Sendable, Hashable {
    public var status: UInt16 = 0
    public var contentType = ContentType.none
    /// Bytes of the body; -1 where the head does not say. At most 2^40 - 1.
    public var contentLength: Int64 = -1

    public init() {}

    /// Whether the body comes piece by piece as the server makes it: server-sent events or JSON
    /// lines. gRPC does not say; ``ScanEvents/tokenStreams`` counts it from its second message on.
    public var isStreaming: Bool { contentType == .eventStream || contentType == .jsonLines }
}
