import LinuxNetworking
import SystemPackage

/// A daemon that can hand an interface of its own over.
struct RunningDaemon {
    let interface: String
    let process: Int32
    /// `nil` where it cannot be seen from here.
    let namespace: NetworkNamespace?

    /// - Returns: `nil` when no daemon listens for a newer one.
    init?(of interface: String) {
        let path = UnixSocketListener.handoverPath(of: interface)
        guard let socket = try? UnixSocket.connect(path) else { return nil }
        defer { socket.close() }
        guard let peer = try? socket.peerCredentials() else { return nil }
        self.interface = interface
        process = peer.processIdentifier
        // Of a process in a container's PID namespace the number is 0.
        namespace = try? NetworkNamespace(path: "/proc/\(process)/ns/net")
    }

    /// All of this machine, also in other network namespaces, by name.
    static func all() -> [RunningDaemon] {
        let suffix = ".handover"
        return PrivateFolder.entries(UnixSocketListener.handoverFolder)
            .filter { $0.hasSuffix(suffix) }.sorted()
            .compactMap { RunningDaemon(of: String($0.dropLast(suffix.count))) }
    }

    /// Starts a program that goes on in the place of this daemon, where this daemon is.
    func upgrade(to program: Daemon) throws {
        guard let namespace else {
            throw Failure.failed(
                "\(interface): its daemon runs where it cannot be seen from here; run this "
                    + "command in its container")
        }
        let old = try? ProcessHandle(process)
        // The daemon says itself what it did, and why it did not.
        let code = try namespace.perform {
            try Program.run(program.path, ["--take-over", interface])
        }
        guard code == 0 else {
            throw Failure.failed(
                "\(interface): the new program \(program.path) ended with status \(code)")
        }
        guard old?.hasEnded(within: Self.endNanosecondsMax) ?? true else {
            throw Failure.failed(
                "\(interface): the new program \(program.path) ended with status 0, and did not "
                    + "take over")
        }
    }

    /// How long the old process takes to let go of what it had.
    private static let endNanosecondsMax: UInt64 = 5_000_000_000
}
