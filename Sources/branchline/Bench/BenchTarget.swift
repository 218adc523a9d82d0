import Cryptography
import LinuxNetworking
import NodeAgent
import PacketFormats
import SystemPackage
import WireGuardConfiguration

/// The other node of a test, and the tunnel to it.
struct BenchTarget {
    /// As it was given.
    let host: String
    let address: IPAddress
    let interface: String

    /// - Parameter interface: `nil` for the one that the route leads through.
    /// - Throws: If the host is not behind a tunnel.
    init(host: String, interface wanted: String?) throws {
        let tunnels = try wanted.map { [try Self.servedInterface($0)] } ?? Self.interfacesHere()
        self.host = host
        address = try Self.address(of: host, tunnels: tunnels)
        interface = try Self.interface(to: address, host, tunnels)
    }

    /// The interface that tests are to come by.
    ///
    /// - Parameter wanted: `nil` where there is only one.
    static func servedInterface(_ wanted: String?) throws -> String {
        if let wanted {
            let socket = try InterfaceSocket(name: wanted)
            guard socket.isLive else {
                throw Failure.failed(
                    "\(wanted) is no tunnel of this machine; see `branchline show interfaces`")
            }
            guard interfaceIndex(wanted) != nil else { throw elsewhere([wanted]) }
            return wanted
        }
        let names = try interfacesHere()
        guard let name = names.first, names.count == 1 else {
            throw Failure.badInput(
                "choose a tunnel with --interface: \(names.joined(separator: ", "))")
        }
        return name
    }

    /// - Throws: If there is none in this network namespace.
    private static func interfacesHere() throws -> [String] {
        let live = InterfaceSocket.live().map(\.name)
        let here = live.filter { interfaceIndex($0) != nil }
        if !here.isEmpty { return here }
        throw live.isEmpty ? Failure.failed("no tunnel is up; start one with `sudo branchline up "
            + "wg0`, or join a network with `sudo branchline join TOKEN`") : elsewhere(live)
    }

    private static func elsewhere(_ names: [String]) -> Failure {
        Failure.failed(
            "\(names.joined(separator: ", ")): in another network namespace; run `sudo ip netns "
                + "exec NAME branchline bench ...` with the one of the tunnel")
    }

    private static func address(of host: String, tunnels: [String]) throws -> IPAddress {
        if let address = IPAddress(host) { return address.unmapped }
        for tunnel in tunnels {
            if let address = address(ofNode: host, tunnel: tunnel) { return address }
        }
        do {
            return try HostLookup.endpoint(of: host, port: 0).address.unmapped
        } catch {
            throw Failure.failed(
                "\(host) is neither an address nor a node that is known here (nodes' names need "
                    + "sudo), and cannot be looked up: \(error)")
        }
    }

    /// The first address of a node of a joined network.
    private static func address(ofNode name: String, tunnel: String) -> IPAddress? {
        guard let names = JoinedInterface.find(tunnel)?.folder.status()?.peerNames,
            let key = names.first(where: { $0.value == name })?.key,
            let peers = try? InterfaceSocket(name: tunnel).deviceStatus().peers,
            let peer = peers.first(where: { $0.publicKey.base64 == key })
        else { return nil }
        return peer.allowedIPs.first { $0.length == $0.address.bitCount }?.address
    }

    private static func interface(
        to address: IPAddress, _ host: String, _ tunnels: [String]
    ) throws -> String {
        let netlink = try RoutingNetlink()
        let decision: RouteDecision
        do {
            decision = try netlink.decision(for: address)
        } catch {
            // Where one was named, its own routing table may know better.
            if tunnels.count == 1 && error.errno != .permissionDenied { return tunnels[0] }
            throw Failure.failed("\(host): \(error)")
        }
        if decision.isLocal {
            throw Failure.badInput("\(address) is this machine's own; give the other node's")
        }
        if let tunnel = tunnels.first(where: { interfaceIndex($0) == decision.device }) {
            return tunnel
        }
        let device = decision.device.flatMap { try? netlink.link($0).name } ?? "no interface"
        throw Failure.failed(
            "\(address) is not behind a tunnel: the route to it leaves by \(device), and not by "
                + "\(tunnels.joined(separator: ", ")); give an address that is among the allowed "
                + "IPs in `sudo branchline status`")
    }
}

extension BenchReport.Session {
    /// What protects the way to the target; `nil` where only root may know it.
    init?(_ target: BenchTarget) {
        guard let socket = try? InterfaceSocket(name: target.interface),
            let device = try? socket.deviceStatus(),
            let peer = device.peers.compactMap({ Self.match($0, target.address) })
                .max(by: { $0.length < $1.length })?.peer
        else { return nil }
        let engine = try? socket.engineStatus()
        let health = engine?.peers.first { $0.publicKey == peer.publicKey }
        self.peer = peer.publicKey.base64
        peerName = JoinedInterface.find(target.interface)?.folder.status()?
            .peerNames?[peer.publicKey.base64]
        profile = peer.profile.profileWord
        cipher = peer.profile.cipherWord
        postQuantum = peer.profile.isPostQuantum
        mtu = engine?.mtu
        endpoint = peer.endpoint?.description
        receivedPackets = health?.receivedPackets
        lostPackets = health?.lostPackets
        lossShare = health?.lossShare
    }

    private static func match(
        _ peer: PeerStatus, _ address: IPAddress
    ) -> (peer: PeerStatus, length: Int)? {
        let lengths = peer.allowedIPs.filter { $0.contains(address) }.map(\.length)
        return lengths.max().map { (peer, $0) }
    }
}
