import Foundation
import TestSupport
import Testing

/// The published vectors beside these tests; Vectors/README.md says where they come from.
enum Vectors {
    static func load<Content: Decodable>(_ name: String, as: Content.Type) throws -> Content {
        let url = try #require(
            Bundle.module.url(forResource: "Vectors/\(name)", withExtension: "json"))
        return try JSONDecoder().decode(Content.self, from: Data(contentsOf: url))
    }
}

/// A Wycheproof file: groups of cases that share their sizes.
struct WycheproofFile<Group: Decodable>: Decodable {
    let numberOfTests: Int
    let testGroups: [Group]
}

enum WycheproofResult: String, Decodable {
    case valid, invalid, acceptable
}

struct AEADGroup: Decodable {
    /// Sizes in bits.
    let ivSize, keySize, tagSize: Int
    let tests: [AEADCase]
}

struct AEADCase: Decodable {
    let tcId: Int
    let comment: String
    let key, iv, aad, msg, ct, tag: HexBytes
    let result: WycheproofResult
}

/// Bytes that the file spells in hexadecimal.
struct HexBytes: Decodable {
    let bytes: [UInt8]

    init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        bytes = try #require([UInt8](hex: text), "not hexadecimal: \(text)")
    }
}
