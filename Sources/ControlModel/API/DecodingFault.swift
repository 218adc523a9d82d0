/// What is wrong with JSON, in words for whoever wrote it.
public enum DecodingFault {
    public static func describe(_ error: DecodingError) -> String {
        switch error {
        case .keyNotFound(let key, let context):
            "\(path(context.codingPath + [key])) is missing"
        case .typeMismatch(let type, let context), .valueNotFound(let type, let context):
            wanted(type, at: context.codingPath)
        case .dataCorrupted(let context) where context.codingPath.isEmpty: notJSON
        case .dataCorrupted(let context):
            "\(path(context.codingPath)) has a value that is not allowed"
        @unknown default: "it is not as described"
        }
    }

    /// The parser does not tell one from the other.
    static let notJSON = "it is not JSON, or a number in it is no whole one or too large"

    private static func wanted(_ type: Any.Type, at keys: [any CodingKey]) -> String {
        let isPort = keys.contains { $0.stringValue == "ports" }
        return name(of: type) + " is wanted" + (keys.isEmpty ? "" : " at \(path(keys))")
            + (isPort ? "; ports are texts such as \"443\" or \"8000-8100\"" : "")
    }

    private static func name(of type: Any.Type) -> String {
        let name = String(describing: type)
        if name == "Bool" { return "true or false" }
        if name == "String" { return "a text" }
        if name.contains("Int") || name == "Double" { return "a number" }
        if name.hasPrefix("Array") { return "a list" }
        return "an object"
    }

    /// Such as `rules[2].from`, in snake case.
    private static func path(_ keys: [any CodingKey]) -> String {
        keys.reduce("") { text, key in
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
