import Cryptography
import Glibc
import LinuxNetworking
import PacketFormats
import SystemPackage
import WireGuardConfiguration

/// A configuration file on disk, and the interface that it describes.
struct ConfigurationFile {
    let path: String
    /// The file's name without `.conf`.
    let interfaceName: String
    let contents: WireGuardFile

    /// Finds and reads a file.
    ///
    /// - Parameter argument: A path, or an interface's name to be looked for in the folders that
    ///   hold configurations.
    init(_ argument: String) throws {
        path = try Self.locate(argument)
        let file = FilePath(path).lastComponent?.string ?? path
        let stem = file.hasSuffix(Self.suffix) ? String(file.dropLast(Self.suffix.count)) : ""
        if let fault = InterfaceName.fault(in: stem) {
            let reason = stem.isEmpty ? "" : "; \(stem) cannot be one: \(fault)"
            throw Failure.badInput(
                "\(path) must be named after its interface, with \(InterfaceName.rule) before "
                    + ".conf, such as wg0.conf\(reason)")
        }
        interfaceName = stem
        contents = try Self.read(path)
        warnIfOthersCanRead()
    }

    /// Whether a folder of configurations has one for an interface.
    static func exists(for interface: String) -> Bool {
        folders.contains { PrivateFolder.exists("\($0)/\(interface)\(suffix)") }
    }

    private static func locate(_ argument: String) throws -> String {
        guard !argument.isEmpty else {
            throw Failure.badInput(
                "the name of the configuration is empty; give a path or an interface's name, "
                    + "such as wg0")
        }
        let candidates =
            InterfaceName.fault(in: argument) == nil
            ? folders.map { "\($0)/\(argument)\(suffix)" } + [argument] : [argument]
        for candidate in candidates {
            do {
                if try FilePath(candidate).stat().type != .directory { return candidate }
            } catch Errno.permissionDenied {
                // A folder of keys is often closed to all but root.
                throw Failure.failed("only root may look for \(candidate); run with sudo")
            } catch {}
        }
        throw Failure.badInput(
            "there is no configuration \(argument); looked for "
                + candidates.joined(separator: ", "))
    }

    private static func read(_ path: String) throws -> WireGuardFile {
        // A FIFO or a device may never come to an end, and SaveConfig replaces what the path names.
        guard let status = try? FilePath(path).stat(), status.type == .regular else {
            throw Failure.badInput("\(path) is not a regular file; save the configuration as one")
        }
        var bytes: [UInt8]
        do {
            // Should a FIFO have taken the file's place by now, opening it does not wait.
            let descriptor = try FileDescriptor.open(
                FilePath(path), .readOnly, options: .nonBlocking)
            bytes = try descriptor.closeAfter {
                try descriptor.readToEnd(byteCountMax: ConfigurationLimits.textBytesMax)
            }
        } catch Errno.fileTooLarge {
            throw Failure.badInput(
                "\(path) is larger than \(ConfigurationLimits.textBytesMax) bytes")
        } catch {
            let advice = error as? Errno == .permissionDenied ? "; run with sudo" : ""
            throw Failure.failed("cannot read \(path): \(error)\(advice)")
        }
        defer { bytes.wipe() }
        do {
            return try WireGuardFile(parsing: bytes)
        } catch {
            throw Failure.badInput("\(path): \(error)")
        }
    }

    /// Replaces the file's text in one step, readable by its owner only.
    ///
    /// - Parameter text: Taken over and wiped.
    func replace(wiping text: inout [UInt8]) throws {
        defer { text.wipe() }
        do {
            try PrivateFile.replace(path, with: text)
        } catch {
            throw Failure.failed("cannot save \(path): \(error)")
        }
    }

    private func warnIfOthersCanRead() {
        let others: FilePermissions = [.otherRead, .otherWrite, .otherExecute]
        guard let status = try? FilePath(path).stat(),
            !status.permissions.isDisjoint(with: others)
        else { return }
        Console.error("note: others can read \(path), which holds keys; run `chmod 600 \(path)`")
    }

    /// Where an interface's name is looked for, in order.
    private static let folders = ["/etc/wireguard", "/etc/branchline"]
    private static let suffix = ".conf"
}

/// Ends the command unless it runs with root's rights.
func requireRoot(to purpose: String) throws {
    guard geteuid() == 0 else {
        throw Failure.failed("only root may \(purpose); run with sudo")
    }
}
