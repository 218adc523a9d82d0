/// What is wrong with JSON, in words for whoever wrote it.
public enum DecodingFault {
    /// - Parameter whole: What the JSON is, where the fault is in no member of it.
    public static func describe(
        _ error: DecodingError, whole: String = "the body"
    ) -> String {
        switch error {
        case .keyNotFound(let key, let context):
            "\(path(context.codingPath + [key], whole)) is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            "\(path(context.codingPath, whole)) has the wrong type"
        case .dataCorrupted(let context) where context.codingPath.isEmpty: "it is not JSON"
        case .dataCorrupted(let context):
            "\(path(context.codingPath, whole)) has a value that is not allowed"
        @unknown default: "it is not as described"
        }
    }

    /// Such as `rules[2].from`, in snake case.
    private static func path(_ keys: [any CodingKey], _ whole: String) -> String {
        guard !keys.isEmpty else { return whole }
        return keys.reduce("") { text, key in
            if let index = key.intValue { return "\(text)[\(index)]" }
            let name = snakeCase(key.stringValue)
            return text.isEmpty ? name : "\(text).\(name)"
        }
    }

    private static func snakeCase(_ text: String) -> String {
        let safe = text.prefix(64).filter {
            $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_")
        }
        return safe.reduce("") { $0 + ($1.isUppercase ? "_\($1.lowercased())" : "\($1)") }
    }
}
