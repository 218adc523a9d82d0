import FoundationEssentials

/// What members a JSON text has, whatever they mean.
enum JSONShape: Decodable {
    case object([String: JSONShape])
    case array([JSONShape])
    case null
    case plain

    init(from decoder: any Decoder) throws {
        if let values = try? decoder.container(keyedBy: MemberName.self) {
            var members: [String: JSONShape] = [:]
            for key in values.allKeys {
                members[key.stringValue] = try values.decode(JSONShape.self, forKey: key)
            }
            self = .object(members)
        } else if var values = try? decoder.unkeyedContainer() {
            var items: [JSONShape] = []
            while !values.isAtEnd { items.append(try values.decode(JSONShape.self)) }
            self = .array(items)
        } else {
            self = try decoder.singleValueContainer().decodeNil() ? .null : .plain
        }
    }

    /// Members that `known` does not have, each with its way there.
    func members(beyond known: JSONShape, at place: String = "") -> [String] {
        switch (self, known) {
        case (.object(let given), .object(let known)):
            given.sorted { $0.key < $1.key }.flatMap { name, value -> [String] in
                if case .null = value { return [] }
                let place = place.isEmpty ? name : "\(place).\(name)"
                guard let other = known[name] else { return [place] }
                return value.members(beyond: other, at: place)
            }
        case (.array(let given), .array(let known)):
            zip(given, known).enumerated().flatMap { index, pair in
                pair.0.members(beyond: pair.1, at: "\(place)[\(index)]")
            }
        default: []
        }
    }

    private struct MemberName: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}

extension APIJSON {
    /// Members of a text that were lost in reading: nobody knows them, or they are misspelt.
    ///
    /// - Parameter value: What was read from the text.
    /// - Returns: Each with its way there, such as `services[0].prot`.
    public static func unknownMembers(
        of bytes: some Sequence<UInt8>, readAs value: some Encodable
    ) throws -> [String] {
        let decoder = JSONDecoder()
        let given = try decoder.decode(JSONShape.self, from: Data(bytes))
        let known = try decoder.decode(JSONShape.self, from: Data(try encode(value)))
        return given.members(beyond: known)
    }
}
