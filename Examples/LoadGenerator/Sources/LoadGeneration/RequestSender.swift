import AsyncHTTPClient
import Foundation
import NIOCore
import NIOFoundationCompat
import NIOHTTP1

/// Sends one request and waits for the end of its answer.
struct RequestSender: Sendable {
    let service: InferenceService
    let budget: ByteBudget

    func chat(_ body: ByteBuffer) async throws -> RequestRecord {
        let record = try await post("/chat/completions", body)
        guard record.isEventStream else {
            throw LoadError("the answer is no event stream: does the server stream?")
        }
        if record.hasFailedInStream { throw LoadError("the stream says: \(record.refusal)") }
        guard record.isComplete else { throw LoadError("the stream ended without [DONE]") }
        return record
    }

    func post(_ path: String, _ body: ByteBuffer) async throws -> RequestRecord {
        try await send(try service.request(.POST, path, body: .byteBuffer(body)))
    }

    func exchange(_ block: ByteBuffer) async throws -> RequestRecord {
        let record = try await send(
            try service.request(
                .POST, "/activations", contentType: Self.bytesType, body: .byteBuffer(block)))
        guard record.bytesReceived == block.readableBytes else {
            throw LoadError("\(record.bytesReceived) bytes came for \(block.readableBytes)")
        }
        return record
    }

    func upload(_ byteCount: Int) async throws -> RequestRecord {
        let block = ByteBuffer(repeating: 0xa5, count: Self.blockBytes)
        let body = HTTPClient.Body.stream(contentLength: Int64(byteCount)) { writer in
            Self.write(byteCount, of: block, to: writer)
        }
        return try await send(
            try service.request(.POST, "/kv/blocks", contentType: Self.bytesType, body: body))
    }

    func download(_ byteCount: Int) async throws -> RequestRecord {
        let record = try await send(try service.request(.GET, "/kv/blocks?bytes=\(byteCount)"))
        guard record.bytesReceived == byteCount else {
            throw LoadError("\(record.bytesReceived) of \(byteCount) bytes came")
        }
        return record
    }

    private func send(_ request: HTTPClient.Request) async throws -> RequestRecord {
        try Task.checkCancellation()
        let recorder = ResponseRecorder(budget: budget)
        let task = service.client.execute(request: request, delegate: recorder)
        let record = try await withTaskCancellationHandler {
            try await task.get()
        } onCancel: {
            task.cancel()
        }
        guard (200..<300).contains(record.status) else {
            throw LoadError("status \(record.status): \(record.refusal)")
        }
        return record
    }

    private static func write(
        _ byteCount: Int, of block: ByteBuffer, to writer: HTTPClient.Body.StreamWriter
    ) -> EventLoopFuture<Void> {
        let count = min(byteCount, block.readableBytes)
        let written = writer.write(.byteBuffer(block.getSlice(at: 0, length: count) ?? block))
        if count == byteCount { return written }
        return written.flatMap { write(byteCount - count, of: block, to: writer) }
    }

    /// One line for a failure.
    static func words(for error: any Error, base: String) -> String {
        (error as? LoadError)?.description
            ?? InferenceService.explanation(of: error, base: base)
    }

    private static let bytesType = "application/octet-stream"
    private static let blockBytes = 65_536
}

extension RequestRecord {
    /// What the server says is wrong, or the beginning of what it sent.
    var refusal: String {
        let start = Data(bodyStart)
        if let answer = try? JSONDecoder().decode(Refusal.self, from: start) {
            return answer.error.message
        }
        let text = String(decoding: bodyStart.prefix(200), as: UTF8.self)
        return text.isEmpty ? "(nothing more)" : text.split(whereSeparator: \.isNewline).joined(
            separator: " ")
    }

    private struct Refusal: Decodable {
        struct Reason: Decodable { let message: String }
        let error: Reason
    }
}
