import FoundationEssentials

/// The JSON of a gateway's files: members as they are named in the program, one a line.
enum GatewayJSON {
    static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return [UInt8](try encoder.encode(value)) + [UInt8(ascii: "\n")]
    }

    /// - Throws: ``TenantFault``, whose words name the member that is wrong.
    static func decode<Value: Decodable>(
        _ type: Value.Type, from bytes: [UInt8]
    ) throws(TenantFault) -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch let fault as TenantFault {
            throw fault
        } catch let error as DecodingError {
            throw fault(error)
        } catch {
            throw TenantFault(.fileBroken, "it is not JSON")
        }
    }

    private static func fault(_ error: DecodingError) -> TenantFault {
        switch error {
        case .keyNotFound(let key, let context):
            TenantFault(.invalidValue, "\(name(context.codingPath, key)) is missing")
        case .typeMismatch(_, let context):
            TenantFault(
                .invalidValue, "\(name(context.codingPath)) is not of the kind that it has to be")
        case .valueNotFound(_, let context):
            TenantFault(.invalidValue, "\(name(context.codingPath)) is null; leave it out")
        default:
            // The decoder has no other word for a number that its type cannot hold.
            TenantFault(.fileBroken, "it is not JSON, or a number in it is out of range")
        }
    }

    private static func name(_ path: [any CodingKey], _ last: (any CodingKey)? = nil) -> String {
        let keys = path + (last.map { [$0] } ?? [])
        guard !keys.isEmpty else { return "it" }
        return keys.map { key in key.intValue.map { "[\($0)]" } ?? key.stringValue }
            .joined(separator: ".").replacing(".[", with: "[")
    }
}

/// Any member's name.
struct MemberName: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}

extension Decoder {
    /// A misspelt member must not pass as one that was left out.
    ///
    /// - Throws: ``TenantFault/Kind/unknownMember``.
    func refuseUnknownMembers<Key: CodingKey & CaseIterable>(besides known: Key.Type) throws {
        let names = Set(known.allCases.map(\.stringValue))
        let found = try container(keyedBy: MemberName.self).allKeys.map(\.stringValue)
        let unknown = found.filter { !names.contains($0) }.sorted()
        guard let first = unknown.first else { return }
        throw TenantFault(
            .unknownMember,
            "there is no member \"\(first)\"; accepted: \(names.sorted().joined(separator: ", "))")
    }
}
