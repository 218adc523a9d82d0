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
            let fault = DecodingFault.describe(error)
            throw Failure.badInput("\(path) is not \(what): \(fault)")
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

    private static let jsonBytesMax = 4 << 20
}
