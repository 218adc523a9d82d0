import AccessControl
import ControlModel
import Cryptography
import LinuxNetworking
import Logging
import TunnelEngine

/// The tenant's rules, enforced by the tunnel.
extension NodeAgent {
    /// Brings the rules in force that the view leads to. They come before the peers that they speak
    /// of, so that nobody is ever let in without them.
    ///
    /// - Returns: Whether they are in force.
    func enforceRules() async -> Bool {
        // Those of an earlier agent stay until there is all that it knew.
        guard inherited.isEmpty || kept == nil else { return true }
        access.note(own: view.standing == .active ? view.own?.grant : nil)
        access.note(view.policy)
        guard access.isChanged else { return true }
        let filter = access.takeRules().map(compiled)
        do throws(TunnelControlError) {
            try await control.setAccess(filter)
        } catch {
            access.giveBack()
            log.error("the tunnel did not take the access rules: \(error)")
            return false
        }
        tellRules(filter)
        enforced = filter
        return true
    }

    private func compiled(_ rules: AccessRules) -> AccessFilter {
        if let enforced { return AccessFilter(rules, continuing: enforced) }
        let usual = view.own?.grant.role == .gateway
            ? Self.gatewayConnectionsMax : Self.branchConnectionsMax
        let capacity = connectionsMax ?? usual
        let state = AccessState(
            capacity: capacity, key: (SecureRandom.uint64(), SecureRandom.uint64()),
            now: Clock.monotonicNanoseconds())
        return AccessFilter(rules, state: state)
    }

    private func tellRules(_ filter: AccessFilter?) {
        guard filter?.rules.rules != enforced?.rules.rules
            || filter?.rules.services != enforced?.rules.services
        else { return }
        if let filter {
            log.notice("\(interface) enforces \(filter.rules.rules.count) access rules")
        } else {
            log.notice("\(interface) enforces no access rules")
        }
    }

    /// 128 KiB.
    private static var branchConnectionsMax: Int { 1 << 14 }
    /// 256 KiB for each tenant.
    private static var gatewayConnectionsMax: Int { 1 << 15 }
}
