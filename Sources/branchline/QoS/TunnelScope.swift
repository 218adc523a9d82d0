import ArgumentParser
import Foundation
import Gateway
import NodeAgent
import WireGuardConfiguration

/// Which tunnels of this machine are meant.
struct TunnelScope: ParsableArguments {
    @Argument(
        help: "An interface's name; without it, every interface.",
        completion: .custom { _, _, _ in InterfaceSocket.live().map(\.name) })
    var interface: String?

    @Option(
        name: [.long, .short],
        help: ArgumentHelp("A tenant of this machine's gateway.", valueName: "name"))
    var tenant: String?

    func validate() throws {
        if tenant != nil && interface != nil {
            throw ValidationError("give an interface or --tenant")
        }
    }

    /// One tunnel and what tells of it.
    struct Tunnel {
        let socket: InterfaceSocket
        /// Of this machine's gateway.
        let tenant: String?
        /// Of a joined network, by key in base64.
        let peerNames: [String: String]
        /// This node's own name in a joined network; `nil` where it has joined none.
        let nodeName: String?

        func name(of key: String) -> String { peerNames[key] ?? String(key.prefix(10)) }
    }

    /// What a tunnel says of its QoS at one moment.
    struct Look {
        let tunnel: Tunnel
        /// `nil` where another program serves the interface.
        let status: QoSStatus?
        /// In seconds of the monotonic clock.
        let time: Double
    }

    func tunnels() throws -> [Tunnel] {
        let gateway = LocalGateway()
        var sockets = try interface.map { [try InterfaceSocket(name: $0)] }
        if let tenant {
            try requireRoot(to: "look into the gateway's folder")
            sockets = [try InterfaceSocket(name: gateway.domain(tenant).interface)]
        }
        return (sockets ?? InterfaceSocket.live()).map { socket in
            let domain = gateway.tenant { $0.interface == socket.name }
            let folder = domain?.membership.map { MembershipFolder(path: $0) }
                ?? JoinedInterface.find(socket.name)?.folder
            let status = folder?.status()
            return Tunnel(
                socket: socket, tenant: domain?.tenant, peerNames: status?.peerNames ?? [:],
                nodeName: status?.name)
        }
    }

    /// What every tunnel says now. Where none was named, one that cannot be asked does not spoil
    /// the others.
    func collect<Answer>(_ ask: (Tunnel) throws -> Answer) throws -> [Answer] {
        let tunnels = try tunnels()
        if interface != nil || tenant != nil { return try tunnels.map(ask) }
        var answers: [Answer] = []
        for tunnel in tunnels {
            do {
                answers.append(try ask(tunnel))
            } catch let failure as Failure {
                Console.error("branchline: \(Text.plain(failure.message))")
            }
        }
        if answers.isEmpty && !tunnels.isEmpty {
            let names = tunnels.map(\.socket.name).joined(separator: ", ")
            throw Failure.failed("none of these could be asked: \(names); try sudo")
        }
        return answers
    }

    func looks() throws -> [Look] {
        try collect { tunnel in
            Look(
                tunnel: tunnel, status: try tunnel.socket.qosStatus(),
                time: ProcessInfo.processInfo.systemUptime)
        }
    }

    static let nothingIsUp = "no tunnel is up; start one with `sudo branchline up wg0`, or join "
        + "a network with `sudo branchline join TOKEN`\n"
}
