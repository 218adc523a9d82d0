import PacketFormats

/// Checks of single claims, which name what they refuse.
enum Claim {
    /// - Parameter value: What the claim's text stands for; `nil` for nothing.
    static func valid<Value>(_ value: Value?, _ name: String) throws(Refusal) -> Value {
        guard let value else { throw Refusal(.invalidField, name) }
        return value
    }

    /// A claim that only this kind of statement needs.
    static func present<Value>(_ value: Value?, _ name: String) throws(Refusal) -> Value {
        guard let value else { throw Refusal(.missingField, name) }
        return value
    }

    static func integer(
        _ number: Int64, in range: ClosedRange<Int64>, _ name: String
    ) throws(Refusal) -> Int64 {
        guard range.contains(number) else { throw Refusal(.invalidField, name) }
        return number
    }

    static func set<Element: Hashable>(
        _ texts: [String], atMost limit: Int, _ name: String, _ make: (String) -> Element?
    ) throws(Refusal) -> Set<Element> {
        guard texts.count <= limit else { throw Refusal(.invalidField, name) }
        var set: Set<Element> = []
        for text in texts { set.insert(try valid(make(text), name)) }
        return set
    }

    static func prefixes(
        _ texts: [String], atMost limit: Int, _ name: String
    ) throws(Refusal) -> Set<IPPrefix> {
        try set(texts, atMost: limit, name) { IPPrefix($0) }
    }
}
