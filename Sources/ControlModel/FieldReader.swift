/// Takes the members of one JSON object by name; what nobody took is an unknown field.
///
/// An unknown field is refused, not skipped: it may be a restriction that this code does not
/// understand. New fields come with a new version.
struct FieldReader {
    private var remaining: [String: JSONValue]

    init(_ value: JSONValue) throws(Refusal) {
        guard case .object(let members) = value else { throw Refusal(.notJSON, "no object") }
        // Names are plain ASCII and differ, so the dictionary holds each as it was written.
        remaining = Dictionary(members.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
    }

    mutating func text(_ name: String) throws(Refusal) -> String {
        guard case .string(let text) = try take(name) else { throw invalid(name) }
        return text
    }

    /// A text that stands for a value.
    mutating func value<Value>(
        _ name: String, _ make: (String) -> Value?
    ) throws(Refusal) -> Value {
        guard let value = make(try text(name)) else { throw invalid(name) }
        return value
    }

    /// As `value`, or `nil` where the field is absent.
    mutating func optional<Value>(
        _ name: String, _ make: (String) -> Value?
    ) throws(Refusal) -> Value? {
        remaining[name] == nil ? nil : try value(name, make)
    }

    mutating func integer(_ name: String, in range: ClosedRange<Int64>) throws(Refusal) -> Int64 {
        guard case .integer(let number) = try take(name), range.contains(number) else {
            throw invalid(name)
        }
        return number
    }

    mutating func flag(_ name: String) throws(Refusal) -> Bool {
        guard case .flag(let flag) = try take(name) else { throw invalid(name) }
        return flag
    }

    mutating func objects(_ name: String, atMost limit: Int) throws(Refusal) -> [JSONValue] {
        guard case .array(let values) = try take(name), values.count <= limit else {
            throw invalid(name)
        }
        return values
    }

    /// Texts in strictly ascending order, so that a set has one spelling.
    mutating func set<Element: Hashable>(
        _ name: String, atMost limit: Int, _ make: (String) -> Element?
    ) throws(Refusal) -> Set<Element> {
        var set: Set<Element> = []
        var last: String?
        for value in try objects(name, atMost: limit) {
            guard case .string(let text) = value, let element = make(text) else {
                throw invalid(name)
            }
            if let last, last >= text { throw invalid(name) }
            last = text
            set.insert(element)
        }
        return set
    }

    /// Call last.
    func finish() throws(Refusal) {
        if let name = remaining.keys.min() { throw Refusal(.unknownField, name) }
    }

    func has(_ name: String) -> Bool { remaining[name] != nil }

    private mutating func take(_ name: String) throws(Refusal) -> JSONValue {
        guard let value = remaining.removeValue(forKey: name) else {
            throw Refusal(.missingField, name)
        }
        return value
    }

    private func invalid(_ name: String) -> Refusal { Refusal(.invalidField, name) }
}
