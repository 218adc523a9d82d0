/// Writes one JSON object, member by member, in the form that `JSONReader` reads.
///
/// A string that would need an escape is left out and remembered: whoever signs asks `isPlain`,
/// so no text can smuggle members of its own into a statement.
struct JSONWriter {
    private var members: [String] = []
    private(set) var isPlain = true

    mutating func add(_ name: String, _ text: String) { add(name, raw: quoted(text)) }
    mutating func add(_ name: String, _ number: Int64) { add(name, raw: String(number)) }
    mutating func add(_ name: String, _ flag: Bool) { add(name, raw: flag ? "true" : "false") }

    /// A set, in ascending order of its texts.
    mutating func add(_ name: String, set: some Sequence<String>) {
        add(name, raw: "[" + set.sorted().map { quoted($0) }.joined(separator: ",") + "]")
    }

    mutating func add(_ name: String, objects: [JSONWriter]) {
        isPlain = isPlain && objects.allSatisfy(\.isPlain)
        add(name, raw: "[" + objects.map(\.text).joined(separator: ",") + "]")
    }

    var text: String { "{" + members.joined(separator: ",") + "}" }

    private mutating func add(_ name: String, raw: String) {
        members.append("\(quoted(name)):\(raw)")
    }

    private mutating func quoted(_ text: String) -> String {
        guard text.utf8.allSatisfy(JSONText.isPlain) else {
            isPlain = false
            return "\"\""
        }
        return "\"\(text)\""
    }
}
