import AccessControl
import ControlModel
import CoordinatorClient
import NodeAgent
import PacketFormats

/// Whether the rules let branches ask the gateways' health targets.
struct HealthAccess {
    let policy: AccessPolicy
    let nodes: [CoordinatorAPI.Node]

    /// One line for each target that some branches may not ask.
    var warnings: [String] {
        let sides = PolicySides(groups: [], services: [], nodes: nodes)
        let filter = PolicyTest.filter(
            AccessRules(policy: policy, members: sides.members, gateways: sides.gateways))
        let active = nodes.filter { $0.state == .active }
        let branches = active.filter { $0.role != Role.gateway.rawValue }
        return active.filter { $0.role == Role.gateway.rawValue }.flatMap { gateway in
            (gateway.health ?? []).compactMap { HealthTarget($0) }.compactMap { target in
                // Gateways answer pings under every policy.
                let isGateway = sides.gateways.contains { $0.contains(target.address) }
                if isGateway && target.kind == .icmp { return nil }
                let denied = branches.filter { !Self.isAllowed(target, from: $0, by: filter) }
                return denied.first.map { branch in
                    Text.line(
                        "warning: the rules do not let \(denied.count) of \(branches.count) nodes, "
                            + "such as \(branch.name), ask the health target \(target) of "
                            + "\(gateway.name), so to them it does not work; allow it by a rule")
                }
            }
        }
    }

    private static func isAllowed(
        _ target: HealthTarget, from branch: CoordinatorAPI.Node, by filter: AccessFilter
    ) -> Bool {
        let family = branch.addresses.compactMap { IPPrefix($0)?.address }
            .first { $0.isIPv4 == target.address.isIPv4 }
        guard let source = family else { return true }
        let (transport, port): (AccessRules.Transport, UInt16) =
            switch target.kind {
            case .icmp: (.icmp, 0)
            case .tcp(let port): (.tcp, port)
            }
        return filter.decide(
            from: .address(source), to: .address(target.address), transport, port: port
        ).isAllowed
    }
}
