import LinuxNetworking
import Telemetry
import WireGuardConfiguration
import WireGuardProtocol

extension Engine {
    /// Takes up the port and mark that a tunnel is to have together or not at all. Where the port
    /// is shared, a tunnel may only name what there is.
    func applyToSockets(_ changes: DeviceSettings) throws(UAPIError) {
        guard !isShared else { return try checkShared(changes) }
        do {
            try applyToOwnSockets(changes)
        } catch {
            throw UAPIError(error)
        }
    }

    private func checkShared(_ changes: DeviceSettings) throws(UAPIError) {
        if let port = changes.listenPort, port != 0, port != listenPort {
            throw UAPIError(
                .invalid,
                "all tenants of this gateway share UDP port \(listenPort): leave the port out")
        }
        if let mark = changes.firewallMark, mark != firewallMark {
            throw UAPIError(
                .invalid, "all tenants of this gateway share firewall mark \(firewallMark)")
        }
    }

    private func applyToOwnSockets(_ changes: DeviceSettings) throws(UDPSocketError) {
        let mark = changes.firewallMark ?? firewallMark
        let port = changes.listenPort ?? listenPort
        let isUp = tunnels.values.contains { $0.settings.isUp }
        // Zero asks for any port: the one that is open will do, and packets under way arrive.
        if let sockets, port == listenPort || port == 0 {
            if mark != firewallMark { try sockets.setFirewallMark(mark) }
        } else if isUp && changes.listenPort != nil {
            try openSockets(port: port, firewallMark: mark)
        } else {
            let asksForPort = changes.listenPort != nil && port != 0
            if asksForPort || mark != firewallMark {
                try probe(port: asksForPort ? port : 0, firewallMark: mark)
            }
            listenPort = port
        }
        firewallMark = mark
    }

    /// Drops of what belongs to no tunnel, and of the given counters.
    func drops(
        with drops: [CounterSet<DropReason>] = [], _ events: [CounterSet<EngineCounter>] = []
    ) -> [EngineStatus.Drops] {
        let links = workers.map(\.counters)
        let overflow = closedSocketDrops + UInt64(sockets?.kernelDropCount ?? 0)
        return Self.drops(
            links.map(\.drops) + [handshakeDrops] + drops, links.map(\.events) + events)
            + [.init(reason: "socket_overflow", count: overflow)]
    }

    static func drops(
        _ drops: [CounterSet<DropReason>], _ events: [CounterSet<EngineCounter>]
    ) -> [EngineStatus.Drops] {
        DropReason.allCases.map {
            .init(reason: $0.name, count: CounterSet.total(of: $0, in: drops))
        } + EngineCounter.allCases.filter(\.isDrop).map {
            .init(reason: $0.name, count: CounterSet.total(of: $0, in: events))
        }
    }
}

extension UAPIError {
    fileprivate init(_ error: UDPSocketError) {
        let kind: Kind =
            switch error {
            case .portInUse: .addressInUse
            case .notPermitted: .notPermitted
            case .failed: .inputOutput
            }
        self.init(kind, error.description)
    }
}
