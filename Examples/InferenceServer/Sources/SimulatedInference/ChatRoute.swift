import Hummingbird

/// `POST /v1/chat/completions`.
struct ChatRoute: Sendable {
    let engine: InferenceEngine

    func respond(to request: Request, context: ServerContext) async throws -> Response {
        let settings = engine.settings
        let chat = try await JSONBody.decode(
            ChatRequest.self, from: request, bytesMax: settings.bodyBytesMax)
        try chat.validate(settings)
        let generation = try engine.generate(chat)
        try await context.whenClientGone(generation.cancel)
        let identity = CompletionIdentity(
            model: chat.model, seed: settings.seed, ordinal: generation.ordinal)
        guard chat.stream else { return try await whole(generation, identity) }
        return try streamed(generation, identity, includesUsage: chat.includesUsage)
    }

    private func streamed(
        _ generation: Generation, _ identity: CompletionIdentity, includesUsage: Bool
    ) throws -> Response {
        let chunks = try CompletionChunks(identity, includesUsage: includesUsage)
        let body = ResponseBody { writer in
            var hash = SHA256()
            var tokenCount = 0
            for await event in generation.events {
                switch event {
                case .token(let text):
                    if tokenCount == 0 { try await writer.write(chunks.role) }
                    hash.update(text)
                    tokenCount += 1
                    try await writer.write(chunks.content(text))
                case .finished(let reason):
                    let usage = Usage(
                        promptTokens: generation.plan.promptTokenCount,
                        completionTokens: tokenCount)
                    let end = chunks.end(
                        reason, usage: usage, contentSHA256: hash.finalizeHex())
                    try await writer.write(end)
                    try await writer.finish(nil)
                    return
                }
            }
            // Without its end the answer must not look whole: closing the connection says so.
            throw CancellationError()
        }
        return Response(
            status: .ok,
            headers: [.contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache"],
            body: body)
    }

    private func whole(
        _ generation: Generation, _ identity: CompletionIdentity
    ) async throws -> Response {
        var text = ""
        var tokenCount = 0
        for await event in generation.events {
            switch event {
            case .token(let piece):
                text += piece
                tokenCount += 1
            case .finished(let reason):
                let usage = Usage(
                    promptTokens: generation.plan.promptTokenCount, completionTokens: tokenCount)
                let completion = Completion(identity, text: text, reason: reason, usage: usage)
                return try JSONBody.response(completion)
            }
        }
        throw CancellationError()
    }
}
