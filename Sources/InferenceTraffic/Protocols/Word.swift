/// What scanners compare with. Ranges of cases are looked up together: ``Vocabulary``.
enum Word: Int, CaseIterable {
    // Names of fields.
    case fieldMethod, fieldPath, fieldStatus, fieldContentLength, fieldContentType
    case fieldTransferEncoding, fieldObjective, fieldFirstToken
    // Methods, compared in lower case after their case was checked.
    case get, head, post, put, delete, options, connect
    // Values.
    case chunked, eventStream, ndjson, plainNDJSON, jsonLines, jsonSequence, streamJSON, json
    case grpcType
    // Objectives.
    case interactive, realtime, realTime, chat, critical, premium, latency
    case batch, background, offline, bulk, sheddable, bestEffort, throughput
    // Segments of paths that count anywhere.
    case batches, files, uploads, kv, kvCache, kvDashCache, kvUnderscoreCache, blobs, resolve
    // Last segments of paths.
    case embeddings, embed
    case completions, responses, messages, generate, generateStream, chatPath, invocations, infer
    case predict
    case generateContent
    // Versions and prefaces.
    case version10, version11, ssh, http2Preface
    // Usage records.
    case completionTokens, outputTokens

    var spelling: String {
        switch self {
        case .fieldMethod: ":method"
        case .fieldPath: ":path"
        case .fieldStatus: ":status"
        case .fieldContentLength: "content-length"
        case .fieldContentType: "content-type"
        case .fieldTransferEncoding: "transfer-encoding"
        case .fieldObjective: "x-gateway-inference-objective"
        case .fieldFirstToken: "x-slo-ttft-ms"
        case .get: "get"
        case .head: "head"
        case .post: "post"
        case .put: "put"
        case .delete: "delete"
        case .options: "options"
        case .connect: "connect"
        case .chunked: "chunked"
        case .eventStream: "text/event-stream"
        case .ndjson: "application/x-ndjson"
        case .plainNDJSON: "application/ndjson"
        case .jsonLines: "application/jsonl"
        case .jsonSequence: "application/json-seq"
        case .streamJSON: "application/stream+json"
        case .json: "application/json"
        case .grpcType: "application/grpc"
        case .interactive: "interactive"
        case .realtime: "realtime"
        case .realTime: "real-time"
        case .chat: "chat"
        case .critical: "critical"
        case .premium: "premium"
        case .latency: "latency"
        case .batch: "batch"
        case .background: "background"
        case .offline: "offline"
        case .bulk: "bulk"
        case .sheddable: "sheddable"
        case .bestEffort: "best-effort"
        case .throughput: "throughput"
        case .batches: "batches"
        case .files: "files"
        case .uploads: "uploads"
        case .kv: "kv"
        case .kvCache: "kvcache"
        case .kvDashCache: "kv-cache"
        case .kvUnderscoreCache: "kv_cache"
        case .blobs: "blobs"
        case .resolve: "resolve"
        case .embeddings: "embeddings"
        case .embed: "embed"
        case .completions: "completions"
        case .responses: "responses"
        case .messages: "messages"
        case .generate: "generate"
        case .generateStream: "generate_stream"
        case .chatPath: "chat"
        case .invocations: "invocations"
        case .infer: "infer"
        case .predict: "predict"
        case .generateContent: "generatecontent"
        case .version10: "http/1.0"
        case .version11: "http/1.1"
        case .ssh: "ssh-"
        case .http2Preface: "pri * http/2.0\r\n\r\nsm\r\n\r\n"
        case .completionTokens: "completion_tokens\""
        case .outputTokens: "output_tokens\""
        }
    }
}
