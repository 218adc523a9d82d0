import FoundationEssentials
import Glibc
import SystemPackage

/// The coordinator's folder: private to its user, and so is every secret in it.
public struct StateFolder: Sendable {
    public let path: String

    /// Makes the folder (0700) unless it is there.
    ///
    /// - Throws: `StateFault` with what to do about it.
    public init(path: String) throws {
        self.path = path
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700])
        } catch {
            throw StateFault(
                "cannot make the state folder \(path): \(Self.reason(error)). Choose another with "
                    + "--state, or make it writable for this user.")
        }
        try check(".", forbidden: 0o022, "be written by others")
        for name in Self.secrets { try check(name, forbidden: 0o077, "be used by others") }
    }

    /// Whoever may change the folder or read the keys is the coordinator, too.
    private func check(_ name: String, forbidden: Int, _ what: String) throws {
        let file = name == "." ? path : path(of: name)
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: file),
            let mode = attributes[.posixPermissions] as? Int
        else { return }
        guard mode & forbidden == 0 else {
            throw StateFault("\(file) can \(what): see who had access, then `chmod go= \(file)`.")
        }
    }

    private static let secrets = ["tls.key", "setup-code", "coordinator.sqlite"]

    public func path(of name: String) -> String { "\(path)/\(name)" }

    /// - Returns: `nil` where there is no such file.
    func read(_ name: String) throws -> [UInt8]? {
        guard FileManager.default.fileExists(atPath: path(of: name)) else { return nil }
        return try Self.read(path(of: name), bytesMax: Self.bytesMax)
    }

    /// Writes a file that only its owner may read (0600), unless it exists.
    func createPrivate(_ name: String, _ bytes: [UInt8]) throws {
        let temporary = path(of: ".\(name).new")
        try? FileManager.default.removeItem(atPath: temporary)
        do {
            let descriptor = try FileDescriptor.open(
                FilePath(temporary), .writeOnly, options: [.create, .exclusiveCreate],
                permissions: .ownerReadWrite)
            try descriptor.closeAfter { _ = try descriptor.writeAll(bytes) }
            try FileManager.default.moveItem(atPath: temporary, toPath: path(of: name))
        } catch {
            throw StateFault(
                "cannot write \(path(of: name)): \(Self.reason(error)). Make sure that the folder "
                    + "is writable and that there is room on its disk.")
        }
    }

    /// Replaces a file that others may read.
    func replacePublic(_ name: String, _ bytes: [UInt8]) throws {
        do {
            try Data(bytes).write(to: URL(filePath: path(of: name)), options: .atomic)
        } catch {
            throw StateFault("cannot write \(path(of: name)): \(Self.reason(error)).")
        }
    }

    func remove(_ name: String) {
        try? FileManager.default.removeItem(atPath: path(of: name))
    }

    /// - Throws: `StateFault` for what cannot be read or is larger than `bytesMax`.
    static func read(_ path: String, bytesMax: Int) throws -> [UInt8] {
        do {
            let data = try Data(contentsOf: URL(filePath: path))
            guard data.count <= bytesMax else {
                throw StateFault("\(path) is larger than \(bytesMax) bytes.")
            }
            return [UInt8](data)
        } catch let error as CocoaError {
            throw StateFault("cannot read \(path): \(reason(error)).")
        }
    }

    private static func reason(_ error: any Error) -> String {
        guard let error = error as? CocoaError else {
            return (error as? Errno)?.description ?? "\(error)"
        }
        if let cause = error.underlying as? POSIXError {
            return Errno(rawValue: cause.code.rawValue).description
        }
        return switch error.code {
        case .fileReadNoSuchFile, .fileNoSuchFile: "no such file or folder"
        case .fileReadNoPermission, .fileWriteNoPermission: "permission denied"
        case .fileWriteOutOfSpace: "no space left on device"
        case .fileWriteVolumeReadOnly: "the file system is read-only"
        case .fileWriteFileExists: "a file is in the way"
        default: "error \(error.code.rawValue)"
        }
    }

    private static var bytesMax: Int { 1 << 20 }
}

/// Why the coordinator cannot start, in words for whoever starts it.
public struct StateFault: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}
