import Hummingbird
import NIOCore

/// What moves beside chat in an inference cluster, as far as a network sees it: blocks of a
/// key-value cache, and the hidden states of a model that is split over two sites. No part of the
/// OpenAI API.
struct TransferRoutes: Sendable {
    /// Served over and over; nothing on the way gets smaller by compressing it.
    private let block: ByteBuffer

    init(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, sequence: 0)
        var block = ByteBuffer()
        for _ in 0..<Self.blockBytes / 8 { block.writeInteger(generator.next()) }
        self.block = block
    }

    /// `POST /v1/kv/blocks`: swallows the body and tells how long it was.
    func swallow(_ request: Request) async throws -> Response {
        var byteCount = 0
        for try await piece in request.body { byteCount += piece.readableBytes }
        return try JSONBody.response(Receipt(bytes: byteCount))
    }

    /// `GET /v1/kv/blocks?bytes=N`: serves N bytes.
    func serve(_ request: Request) throws -> Response {
        guard let text = request.uri.queryParameters["bytes"], let byteCount = Int(text),
            (1...Self.servedBytesMax).contains(byteCount)
        else {
            throw OpenAIError.invalid(
                "bytes", "'bytes' must be a number from 1 to \(Self.servedBytesMax).")
        }
        let block = block
        let body = ResponseBody(contentLength: byteCount) { writer in
            var left = byteCount
            while left > 0 {
                let count = min(left, block.readableBytes)
                try await writer.write(block.getSlice(at: 0, length: count) ?? block)
                left -= count
            }
            try await writer.finish(nil)
        }
        return Response(
            status: .ok, headers: [.contentType: "application/octet-stream"], body: body)
    }

    /// `POST /v1/activations`: answers the bytes that came with as many.
    func exchange(_ request: Request) async throws -> Response {
        let body = try await request.body.collect(upTo: Self.exchangedBytesMax)
        return Response(
            status: .ok, headers: [.contentType: "application/octet-stream"],
            body: ResponseBody(byteBuffer: body))
    }

    private struct Receipt: Encodable {
        let bytes: Int
    }

    private static let blockBytes = 65_536
    private static let servedBytesMax = 1 << 34
    private static let exchangedBytesMax = 1 << 20
}
