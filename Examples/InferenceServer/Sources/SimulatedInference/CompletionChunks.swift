import NIOCore

/// Writes one answer as the server-sent events of `chat.completion.chunk` objects.
///
/// The parts that all chunks share are written once: a server with a thousand streams spends its
/// time here.
///
/// Source: https://platform.openai.com/docs/api-reference/chat-streaming
struct CompletionChunks {
    private let head: String
    private let tail: String
    private let includesUsage: Bool

    init(_ identity: CompletionIdentity, includesUsage: Bool) throws {
        head = """
            data: {"id":"\(identity.id)","object":"chat.completion.chunk",\
            "created":\(identity.createdSeconds),"model":\(try JSONBody.string(identity.model)),\
            "system_fingerprint":"\(CompletionIdentity.fingerprint)","choices":
            """
        // Every chunk but the last carries an empty place for the counts, as the API says.
        tail = includesUsage ? ",\"usage\":null}\n\n" : "}\n\n"
        self.includesUsage = includesUsage
    }

    /// The chunk that opens the answer.
    var role: ByteBuffer {
        chunk(delta: #"{"role":"assistant","content":""}"#)
    }

    /// - Parameter text: Words of ``Vocabulary``, which need no escaping.
    func content(_ text: String) -> ByteBuffer {
        chunk(delta: "{\"content\":\"\(text)\"}")
    }

    /// The chunk that ends the answer, the counts if wanted, and the end of the stream.
    /// - Parameter contentSHA256: Of the whole text in UTF-8, for a client to compare.
    func end(_ reason: FinishReason, usage: Usage, contentSHA256: String) -> ByteBuffer {
        var buffer = chunk(
            delta: "{}", finishReason: "\"\(reason.rawValue)\"",
            extra: ",\"branchline_sha256\":\"\(contentSHA256)\"")
        if includesUsage {
            buffer.writeString(
                """
                \(head)[],"usage":{"prompt_tokens":\(usage.promptTokens),\
                "completion_tokens":\(usage.completionTokens),\
                "total_tokens":\(usage.totalTokens)}}\n\n
                """)
        }
        buffer.writeString("data: [DONE]\n\n")
        return buffer
    }

    private func chunk(
        delta: String, finishReason: String = "null", extra: String = ""
    ) -> ByteBuffer {
        ByteBuffer(
            string: """
                \(head)[{"index":0,"delta":\(delta),"logprobs":null,\
                "finish_reason":\(finishReason)}]\(extra)\(tail)
                """)
    }
}
