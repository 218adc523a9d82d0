import NIOCore

/// Bodies of requests, as JSON text. Model names come from users and are escaped, all else is made
/// here of letters that need none.
struct RequestBodies: Sendable {
    let chatModel: String
    let embeddingModel: String

    init(chatModel: String, embeddingModel: String) {
        self.chatModel = Self.quoted(chatModel)
        self.embeddingModel = Self.quoted(embeddingModel)
    }

    /// - Parameter isExact: Whether the answer is to have all of `tokens`, as vLLM understands it.
    func chat(prompt: String, tokens: Int, isExact: Bool) -> ByteBuffer {
        ByteBuffer(
            string: """
                {"model":\(chatModel),"stream":true,\(Self.length(tokens, isExact)),\
                "messages":[{"role":"user","content":"\(prompt)"}]}
                """)
    }

    func embeddings(_ texts: [String]) -> ByteBuffer {
        let list = texts.map { "\"\($0)\"" }.joined(separator: ",")
        return ByteBuffer(
            string: """
                {"model":\(embeddingModel),"encoding_format":"base64","input":[\(list)]}
                """)
    }

    /// - Parameter results: What the tool answered so far.
    func agent(task: String, results: [String], tokens: Int) -> ByteBuffer {
        let turns = results.enumerated().map { step, result in
            """
            ,{"role":"assistant","content":null,"tool_calls":[{"id":"call_\(step)",\
            "type":"function","function":{"name":"look_up","arguments":"{}"}}]},\
            {"role":"tool","tool_call_id":"call_\(step)","content":"\(result)"}
            """
        }
        return ByteBuffer(
            string: """
                {"model":\(chatModel),"max_completion_tokens":\(tokens),\
                "tools":[{"type":"function","function":{"name":"look_up",\
                "description":"Looks a word up.","parameters":{"type":"object",\
                "properties":{"word":{"type":"string"}}}}}],\
                "messages":[{"role":"user","content":"\(task)"}\(turns.joined())]}
                """)
    }

    private static func length(_ tokens: Int, _ isExact: Bool) -> String {
        let limit = "\"max_completion_tokens\":\(tokens)"
        return isExact ? "\(limit),\"min_tokens\":\(tokens)" : limit
    }

    /// RFC 8259, section 7.
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": quoted += "\\\(scalar)"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
