import FoundationEssentials

/// The JSON of statements, of which every value has one text.
///
/// Foundation's coders read and write it: members in the order of their names, no white space, no
/// escaped slashes. Whoever decodes makes a value of it, encodes that again and compares. So
/// whatever readers may understand differently is refused by one rule: repeated and unknown
/// members, other orders, other spellings of numbers and strings, `null`, another encoding, and
/// bytes before or behind the object.
///
/// Callers bound the size. Foundation refuses more than 512 levels of nesting.
///
/// Source: RFC 8725, sections 2.4 and 2.6.
enum CanonicalJSON {
    static func encode(_ value: some Encodable) throws(Refusal) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return [UInt8](try encoder.encode(value))
        } catch {
            throw Refusal(.invalidField, "cannot be written")
        }
    }

    /// Reads any spelling: nothing counts before `check`.
    static func decode<Value: Decodable>(_ bytes: [UInt8]) throws(Refusal) -> Value {
        do {
            return try JSONDecoder().decode(Value.self, from: Data(bytes))
        } catch {
            throw refusal(for: error)
        }
    }

    /// The names of an object's members.
    static func names(in bytes: [UInt8]) throws(Refusal) -> Set<String> {
        let members: [String: Anything] = try decode(bytes)
        return Set(members.keys)
    }

    /// Whether `bytes` are the one text of what they were read as.
    ///
    /// - Parameter canonical: That value, encoded.
    static func check(_ bytes: [UInt8], against canonical: [UInt8]) throws(Refusal) {
        guard bytes != canonical else { return }
        if let name = try names(in: bytes).subtracting(try names(in: canonical)).min() {
            throw Refusal(.unknownField, Refusal.excerpt(of: name))
        }
        throw Refusal(.notCanonical)
    }

    private struct Anything: Decodable {
        init(from decoder: any Decoder) {}
    }

    private static func refusal(for error: any Error) -> Refusal {
        guard let error = error as? DecodingError else { return Refusal(.notJSON) }
        switch error {
        case .keyNotFound(let key, _): return Refusal(.missingField, key.stringValue)
        case .typeMismatch(_, let context), .valueNotFound(_, let context),
            .dataCorrupted(let context):
            guard let field = context.codingPath.first else { return Refusal(.notJSON) }
            return Refusal(.invalidField, field.stringValue)
        @unknown default: return Refusal(.notJSON)
        }
    }
}
