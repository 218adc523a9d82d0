import Glibc
import SystemPackage

/// Says that this process alone works on the SQLite database of a state folder. flock
///
/// Two processes could both write it, but neither would hear of the other's changes, and their
/// nodes would see different networks. The lock lasts as long as this object; the kernel gives it
/// back however the process ends.
public final class StateLock: Sendable {
    private let descriptor: FileDescriptor

    /// - Throws: `StateFault` where another process has it.
    public init(_ folder: StateFolder) throws {
        let path = folder.path(of: Self.fileName)
        do {
            descriptor = try FileDescriptor.open(
                FilePath(path), .readWrite, options: [.create, .closeOnExec],
                permissions: .ownerReadWrite)
        } catch {
            throw StateFault(
                "cannot open \(path): \(error). Make sure that the folder is writable and that "
                    + "there is room on its disk.")
        }
        guard flock(descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 else {
            let holder = Self.holder(path)
            try? descriptor.close()
            throw StateFault(
                "another coordinator\(holder) works in \(folder.path): stop it first, or choose "
                    + "another folder with --state. Several coordinators can share PostgreSQL, "
                    + "not SQLite.")
        }
        // For the message above alone: a full disk is no reason not to start.
        guard ftruncate(descriptor.rawValue, 0) == 0 else { return }
        _ = try? descriptor.writeAll(toAbsoluteOffset: 0, "\(getpid())\n".utf8)
    }

    deinit { try? descriptor.close() }

    private static func holder(_ path: String) -> String {
        let bytes = try? StateFolder.read(path, bytesMax: holderBytesMax)
        let text = String(decoding: bytes ?? [], as: UTF8.self)
        return Int32(text.prefix { $0 != "\n" }).map { " (process \($0))" } ?? ""
    }

    private static let fileName = "coordinator.lock"
    private static let holderBytesMax = 16
}
