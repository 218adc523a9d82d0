import ControlModel
import Foundation
import LinuxNetworking
import SystemPackage

/// Files that commands read.
enum InputFile {
    /// - Parameter path: `-` for standard input.
    static func bytes(_ path: String, bytesMax: Int) throws -> [UInt8] {
        if path == "-" { return try Console.input(bytesMax: bytesMax) }
        do {
            let descriptor = try FileDescriptor.open(
                FilePath(path), .readOnly, options: .closeOnExec)
            return try descriptor.closeAfter {
                try descriptor.readToEnd(byteCountMax: bytesMax)
            }
        } catch Errno.fileTooLarge {
            throw Failure.badInput("\(path) is larger than \(bytesMax) bytes")
        } catch {
            throw Failure.badInput("cannot read \(path): \(error)")
        }
    }

    static func json<Value: Codable>(_ path: String, _ what: String) throws -> Value {
        let bytes = try bytes(path, bytesMax: jsonBytesMax)
        do {
            let value: Value = try APIJSON.decode(from: bytes)
            try checkMembers(of: bytes, are: value)
            return value
        } catch let failure as Failure {
            throw Failure.badInput("\(path) is not \(what): \(failure.message)")
        } catch let error as DecodingError {
            throw Failure.badInput("\(path) is not \(what): \(explanation(of: error))")
        } catch {
            throw Failure.badInput("\(path) is not \(what): \(error)")
        }
    }

    /// A member that nobody reads is a slip of the pen, and would be lost without a word.
    private static func checkMembers(of bytes: [UInt8], are value: some Encodable) throws {
        let unknown = try APIJSON.unknownMembers(of: bytes, readAs: value).map { Text.plain($0) }
        guard unknown.isEmpty else {
            throw Failure.badInput(
                "nothing is known of \(unknown.joined(separator: ", ")); is it misspelt?")
        }
    }

    private static func explanation(of error: DecodingError) -> String {
        func place(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map { key in
                key.intValue.map { "[\($0)]" } ?? name(key)
            }
            return path.isEmpty ? "" : " at \(path.joined(separator: "."))"
        }
        func wanted(_ type: Any.Type, _ context: DecodingError.Context) -> String {
            let isPort = context.codingPath.contains { $0.stringValue == "ports" }
            return wantedName(type) + " is wanted" + place(context)
                + (isPort ? "; ports are texts such as \"443\" or \"8000-8100\"" : "")
        }
        return switch error {
        case .keyNotFound(let key, let context): "\(name(key)) is missing\(place(context))"
        case .typeMismatch(let type, let context), .valueNotFound(let type, let context):
            wanted(type, context)
        case .dataCorrupted(let context): "it is not JSON, or has a wrong value\(place(context))"
        @unknown default: "it cannot be read"
        }
    }

    /// As the file spells it.
    private static func name(_ key: any CodingKey) -> String {
        key.stringValue.map { $0.isUppercase ? "_\($0.lowercased())" : "\($0)" }.joined()
    }

    private static func wantedName(_ type: Any.Type) -> String {
        let name = String(describing: type)
        if name == "Bool" { return "true or false" }
        if name == "String" { return "a text" }
        if name.contains("Int") { return "a number" }
        if name.hasPrefix("Array") { return "a list" }
        return "an object"
    }

    private static let jsonBytesMax = 4 << 20
}
