import ArgumentParser
import ControlModel
import Foundation
import Gateway
import Glibc
import LinuxNetworking
import NodeAgent
import SystemPackage
import WireGuardConfiguration

struct QoSLocal: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "local",
        abstract: "Show, set and clear the local QoS file of an interface of this machine.",
        discussion: """
            It says what this side alone knows, above all the rate of its line, and stands beside \
            the policy of a joined network. For example:

              sudo branchline qos local set wg0 qos.json
              branchline qos local show wg0
              sudo branchline qos local clear wg0
            """,
        subcommands: [Show.self, Set.self, Clear.self])

    /// What a local file and a coordinator's policy have in common.
    static let fileHelp = """
        services, each with name, destination, transport (tcp, udp or *), ports and \
        traffic_class (token, activation, prompt, bulk or background; without one it is named \
        only); weights by class, 1 to 1000; priority_percent, what token and activation may take \
        of a busy line before the others; activation_deadline_ms; believe, classes by DSCP; \
        marking with outer (off, class or copy), inner and DSCPs by classes; budget with bytes, \
        tokens and per_seconds; classify, false to tell no classes apart; and read_usage, true \
        to read how many tokens clear answers say they have.
        """

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the local QoS file, as `qos local set` takes it.",
            discussion: """
                The result is JSON. For example:

                  branchline qos local show wg0
                """)

        @Argument(help: "The interface.", completion: .interfaces)
        var interface: String

        func run() throws {
            let place = try LocalQoS(interface)
            guard let policy = try place.read() else {
                throw Failure.failed(
                    "\(interface) has no local QoS file; make one with `sudo branchline qos local "
                        + "set \(interface) FILE`")
            }
            try Console.output(try APIJSON.encodePretty(policy))
        }
    }

    struct Set: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Replace the local QoS file, and tell the daemon.",
            discussion: """
                The file is JSON, and what it leaves out is as it is by itself: link with the \
                rate of this side's line in bits per second and overhead_bytes, what the line \
                adds to each packet (14 for Ethernet), and where the rate changes minimum_rate: \
                it is then followed between the two, as far as peers of profile branchline \
                measure it; peers by public key, each with rate, which is always the same, and \
                overhead_bytes of a line of its own, outer and ceiling; \(fileHelp) For example:

                  sudo branchline qos local set wg0 qos.json

                with this qos.json:

                  {
                    "link": { "rate": 20000000, "overhead_bytes": 18 },
                    "services": [
                      {
                        "name": "chat", "destination": "10.9.0.0/24", "transport": "tcp",
                        "ports": ["443", "8000-8100"], "traffic_class": "token"
                      }
                    ]
                  }

                It is kept as \(QoSFile.folder)/INTERFACE.json. Nothing changes if it is refused.
                """)

        @Argument(help: "The interface.", completion: .interfaces)
        var interface: String

        @Argument(help: "The file, or - for standard input.", completion: .file())
        var file = "-"

        func run() throws {
            try requireRoot(to: "change the local QoS file")
            let place = try LocalQoS(interface)
            let bytes = try InputFile.bytes(file, bytesMax: PolicyLimits.fileBytesMax)
            let policy: QoSPolicy
            do throws(QoSFileFault) {
                policy = try QoSPolicy(localFile: bytes)
            } catch {
                throw Failure.badInput("\(file) is refused: \(error)")
            }
            let settings = QoSSettings(policy: nil, local: policy)
            if let fault = settings.fault() {
                throw Failure.badInput("\(file) is refused: \(fault)")
            }
            for warning in place.warnings(of: policy) { Console.error("warning: \(warning)") }
            try place.write(bytes)
            try Console.output("\(place.file.path) is written; \(try place.tell(settings))")
        }
    }

    struct Clear: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove the local QoS file, and tell the daemon.",
            discussion: """
                For example:

                  sudo branchline qos local clear wg0
                """)

        @Argument(help: "The interface.", completion: .interfaces)
        var interface: String

        func run() throws {
            try requireRoot(to: "remove the local QoS file")
            let place = try LocalQoS(interface)
            let done = try place.remove() ? "\(place.file.path) is removed" : "there was no file"
            try Console.output("\(done); \(try place.tell(QoSSettings()))")
        }
    }
}

/// The local QoS file of one interface, and the daemon that follows it.
private struct LocalQoS {
    let interface: String
    let file: QoSFile
    private let socket: InterfaceSocket
    /// Of the gateway of this machine.
    private let isTenants: Bool

    /// - Throws: If the name cannot be that of an interface, or a gateway's tenant has the
    ///   interface and another file.
    init(_ interface: String) throws {
        socket = try InterfaceSocket(name: interface)
        self.interface = interface
        file = QoSFile.standard(of: interface)
        let path = file.path
        let domain = LocalGateway().tenant { $0.interface == interface }
        isTenants = domain != nil
        if let domain, domain.qos != path {
            throw Failure.failed(
                "\(interface) is the tenant \(domain.tenant) of the gateway, whose file is named "
                    + "by \"qos\" in \(LocalGateway().folder.path)/\(domain.tenant).json; it "
                    + (domain.qos.map { "is \($0)" } ?? "names none; add \"qos\": \"\(path)\""))
        }
    }

    private var isJoined: Bool { JoinedInterface.find(interface) != nil }

    /// What a sound file says in vain here.
    func warnings(of policy: QoSPolicy) -> [String] {
        var warnings: [String] = []
        if isTenants, policy.link != nil {
            warnings.append("link does not count: all tenants share the gateway's line")
        }
        if isTenants || isJoined { return warnings }
        if policy.links != nil {
            warnings.append("links count in joined networks only; this side's line is link")
        }
        if policy.minimumRate != nil || policy.maximumRate != nil {
            warnings.append("minimum_rate and maximum_rate count for a gateway's tenants only")
        }
        return warnings
    }

    func read() throws -> QoSPolicy? {
        do throws(QoSFileFault) {
            return try file.read()
        } catch {
            throw Failure.failed("\(error)")
        }
    }

    /// Everyone may read it: it holds no secrets.
    func write(_ bytes: [UInt8]) throws {
        // Beside the file, so that it takes its place at once.
        let draft = "\(QoSFile.folder)/.\(interface).\(getpid())"
        do {
            try PrivateFolder.createReadable(QoSFile.folder)
            let descriptor = try FileDescriptor.open(
                FilePath(draft), .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec],
                permissions: FilePermissions(rawValue: 0o644))
            try descriptor.closeAfter {
                // Whatever the umask is.
                guard fchmod(descriptor.rawValue, 0o644) == 0 else { throw Errno(rawValue: errno) }
                _ = try descriptor.writeAll(bytes)
                guard fsync(descriptor.rawValue) == 0 else { throw Errno(rawValue: errno) }
            }
            try PrivateFolder.rename(draft, to: file.path)
        } catch {
            try? FileManager.default.removeItem(atPath: draft)
            throw Failure.failed("cannot write \(file.path): \(error)")
        }
    }

    /// - Returns: Whether there was one.
    func remove() throws -> Bool {
        guard PrivateFolder.exists(file.path) else { return false }
        do {
            try FileManager.default.removeItem(atPath: file.path)
        } catch {
            throw Failure.failed("cannot remove \(file.path): \(error.localizedDescription)")
        }
        return true
    }

    /// - Returns: When it counts, in words.
    func tell(_ settings: QoSSettings) throws -> String {
        guard socket.isLive else { return "it counts when \(interface) comes up" }
        // There the daemon joins it with the network's policy itself.
        // A gateway looks at its tenants' files, too.
        if isTenants || isJoined { return "\(interface) follows within seconds" }
        guard try socket.apply(settings) else {
            return "\(interface) is served by a program that knows no QoS, so nothing follows it"
        }
        return "\(interface) follows it now"
    }
}

extension CompletionKind {
    /// Interfaces that are served now.
    fileprivate static var interfaces: CompletionKind {
        .custom { _, _, _ in InterfaceSocket.live().map(\.name) }
    }
}
