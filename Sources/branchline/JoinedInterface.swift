import ControlModel
import Glibc
import LinuxNetworking
import NodeAgent
import WireGuardConfiguration

/// An interface that follows a coordinator, as `branchline join` made it.
struct JoinedInterface {
    let name: String
    let folder: MembershipFolder
    private let socket: InterfaceSocket

    init(name: String) throws {
        socket = try InterfaceSocket(name: name)
        self.name = name
        folder = .standard(of: name, stateFolder: Self.stateFolder)
    }

    /// - Returns: `nil` for what names no joined interface, such as a file.
    static func find(_ argument: String) -> JoinedInterface? {
        guard let interface = try? JoinedInterface(name: argument), interface.folder.isJoined
        else { return nil }
        return interface
    }

    static var all: [JoinedInterface] {
        MembershipFolder.interfaces(stateFolder: stateFolder).compactMap {
            try? JoinedInterface(name: $0)
        }
    }

    static var stateFolder: String? { environment("BRANCHLINE_STATE") }

    /// The first of bl0, bl1 and so on that nothing has.
    static func free() throws -> JoinedInterface {
        for number in 0..<namesMax {
            let interface = try JoinedInterface(name: "bl\(number)")
            if interface.isFree { return interface }
        }
        throw Failure.failed("bl0 to bl\(namesMax - 1) are taken; choose a name with --interface")
    }

    var isLive: Bool { socket.isLive }

    private var isFree: Bool {
        !folder.isJoined && !socket.isLive && interfaceIndex(name) == nil
            && !ConfigurationFile.exists(for: name)
    }

    func requireFree() throws {
        if folder.isJoined {
            throw Failure.failed(
                "\(name) has joined already; leave with `sudo branchline leave \(name)` first, or "
                    + "choose another name with --interface")
        }
        guard isFree else {
            throw Failure.failed(
                "there is an interface or configuration named \(name) already; choose another "
                    + "name with --interface")
        }
    }

    /// Starts the daemon, which does the rest.
    ///
    /// - Throws: If it does not come to serve; then nothing of it is left.
    func start(_ daemon: Daemon) throws {
        if let tenant = TenantMembership.find(folder) { throw tenant.refusal }
        if let refusal = TenantMembership.refusalOfFormer(self) { throw refusal }
        if socket.isLive {
            throw Failure.failed("\(name) is up already; see `branchline status \(name)`")
        }
        if interfaceIndex(name) != nil {
            throw Failure.failed("there is an interface named \(name) already; remove it first")
        }
        folder.forgetStatus()
        try daemon.start(socket, arguments: ["--agent", folder.path])
        do {
            try daemon.awaitService(socket)
        } catch {
            _ = try? stop()
            throw error
        }
    }

    /// Ends the daemon by removing the interface; addresses and routes go along.
    ///
    /// - Returns: Whether there was anything to end.
    @discardableResult
    func stop() throws -> Bool {
        if let tenant = TenantMembership.find(folder) { throw tenant.refusal }
        let netlink = try RoutingNetlink()
        guard let link = try? netlink.linkByName(name) else {
            if try waitUntil(checksMax: 20, { !socket.isLive }) { return socket.removeIfDead() }
            throw Failure.failed(
                "\(name) is not in this network namespace, although its daemon runs; run "
                    + "`ip netns exec` with the namespace that it is in")
        }
        try netlink.removeLink(link.index)
        _ = try waitUntil { !socket.isLive }
        // The agent's last writes come after its socket is gone.
        _ = try? folder.lock()
        return true
    }

    /// Waits until addresses and peers are in force, or it is clear that they will not be soon.
    func awaitForce() throws -> AgentStatus {
        let deadline = Clock.monotonicNanoseconds() + Self.forceNanosecondsMax
        var newest: AgentStatus?
        while Clock.monotonicNanoseconds() < deadline {
            try Interruption.check()
            newest = folder.status() ?? newest
            if let newest, newest.isInForce || newest.state != Standing.active.rawValue {
                return newest
            }
            guard socket.isLive else {
                throw Failure.failed("the daemon of \(name) has ended; the system's log says why")
            }
            usleep(10_000)
        }
        let notes = (newest?.notes ?? []).map { ": \($0)" }.joined()
        throw Failure.failed(
            "\(name) is not in force yet\(notes); see `branchline status \(name)`")
    }

    /// Waits until any peer has answered.
    ///
    /// - Returns: Whether one has.
    func awaitHandshake() -> Bool {
        let deadline = Clock.monotonicNanoseconds() + Self.handshakeNanosecondsMax
        while Clock.monotonicNanoseconds() < deadline, !Task.isCancelled {
            let peers = (try? socket.deviceStatus())?.peers ?? []
            if peers.contains(where: { $0.lastHandshakeSeconds > 0 }) { return true }
            usleep(20_000)
        }
        return false
    }

    private static let namesMax = 256
    private static let forceNanosecondsMax: UInt64 = 10_000_000_000
    private static let handshakeNanosecondsMax: UInt64 = 10_000_000_000
}
