import ControlModel
import Cryptography
import Foundation
import Glibc
import LinuxNetworking
import PacketMemory
import SystemPackage

/// The admin's folder of keys and logins: mode 0700, its files 0600.
struct AdminFolder: Sendable {
    enum File: String {
        /// Which coordinator, and whom to believe. ``Login``
        case login = "login.json"
        case rootKey = "root.key"
        case adminKey = "admin.key"
        /// The admin's key as the root signed it.
        case adminLink = "admin.jws"
        /// ``SeenStatements``
        case seen = "seen.json"
        /// While a rollover is under way: the next root's key, and what the old root signed.
        case nextRootKey = "root-next.key"
        case rollover = "rollover.jws"
        /// The root before the last rollover.
        case oldRootKey = "root-old.key"
    }

    let path: String

    /// $BRANCHLINE_CONFIG, or branchline in the user's configuration folder.
    init() throws {
        if let named = environment("BRANCHLINE_CONFIG") {
            path = named
        } else if let folder = environment("XDG_CONFIG_HOME") {
            path = "\(folder)/branchline"
        } else if let home = environment("HOME") {
            path = "\(home)/.config/branchline"
        } else {
            throw Failure.badInput(
                "there is no place for keys and logins; set BRANCHLINE_CONFIG to a folder")
        }
    }

    func path(_ file: File) -> String { "\(path)/\(file.rawValue)" }

    func exists(_ file: File) -> Bool { FileManager.default.fileExists(atPath: path(file)) }

    /// - Returns: `nil` where there is no such file.
    /// - Throws: If others may read or write it: then it is no secret any more.
    func read(_ file: File, bytesMax: Int = 1 << 20) throws -> [UInt8]? {
        let path = path(file)
        do {
            let descriptor = try FileDescriptor.open(
                FilePath(path), .readOnly, options: [.nonBlocking, .noFollow, .closeOnExec])
            return try descriptor.closeAfter {
                let status = try descriptor.stat()
                guard status.type == .regular else {
                    throw Failure.failed("\(path) is not a regular file; remove it")
                }
                try checkMode(status, path, "600")
                return try descriptor.readToEnd(byteCountMax: bytesMax)
            }
        } catch Errno.noSuchFileOrDirectory {
            return nil
        } catch let error as Errno {
            throw Failure.failed("cannot read \(path): \(error)")
        }
    }

    func text(_ file: File, bytesMax: Int = 1 << 20) throws -> String? {
        try read(file, bytesMax: bytesMax).map { bytes in
            String(decoding: bytes, as: UTF8.self)
                .trimmingCharacters(in: .whitespacesAndNewlines)
        }
    }

    /// Replaces a file in one step; the folder is made where it is missing.
    func write(_ file: File, _ bytes: [UInt8]) throws {
        try prepare()
        do {
            try PrivateFile.replace(path(file), with: bytes)
        } catch {
            throw Failure.failed("cannot write \(path(file)): \(error)")
        }
    }

    func write(_ file: File, text: String) throws { try write(file, Array("\(text)\n".utf8)) }

    func rename(_ old: File, to new: File) throws {
        do {
            if exists(new) { try FileManager.default.removeItem(atPath: path(new)) }
            try FileManager.default.moveItem(atPath: path(old), toPath: path(new))
        } catch {
            throw Failure.failed("cannot rename \(path(old)): \(error.localizedDescription)")
        }
    }

    func remove(_ file: File) throws {
        guard exists(file) else { return }
        do {
            try FileManager.default.removeItem(atPath: path(file))
        } catch {
            throw Failure.failed("cannot remove \(path(file)): \(error.localizedDescription)")
        }
    }

    private func prepare() throws {
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700])
            try checkMode(try FilePath(path).stat(), path, "700")
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure.failed("cannot make the folder \(path): \(error)")
        }
    }

    private func checkMode(_ status: Stat, _ path: String, _ mode: String) throws {
        guard status.userID.rawValue == geteuid() else {
            throw Failure.failed(
                "\(path) belongs to another user; run as that user, or set BRANCHLINE_CONFIG to a "
                    + "folder of your own")
        }
        let others = FilePermissions(rawValue: 0o077)
        guard status.permissions.isDisjoint(with: others) else {
            let entries = try? FileManager.default.contentsOfDirectory(atPath: path)
            throw Failure.failed(
                entries == []
                    ? "others may use \(path), where secrets are to be kept; run `chmod \(mode) "
                        + "\(path)` first"
                    : "others may use \(path), which holds secrets; look who may have read it, "
                        + "then run `chmod \(mode) \(path)`")
        }
    }
}
