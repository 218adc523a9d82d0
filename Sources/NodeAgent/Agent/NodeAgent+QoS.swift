import ControlModel
import Logging
import TunnelEngine
import WireGuardConfiguration

/// How the tunnel tells traffic apart and shares its line, by policy, grants and a local file.
extension NodeAgent {
    /// Brings the settings in force that all of them lead to. They come before the peers that they
    /// speak of, so that none is ever served above its grant.
    ///
    /// Nobody is kept out where the tunnel refuses them: they order traffic, and admit none.
    func enforceQoS() async {
        // Those of an earlier agent stay until there is all that it knew.
        guard inherited.isEmpty || kept == nil else { return }
        qos.note(
            own: view.standing == .active ? view.own?.grant : nil, name: view.name ?? terms.name)
        qos.note(view.qos)
        guard qos.isChanged else { return }
        tellRates(qos.rates)
        let settings = qos.takeSettings()
        guard settings != enforcedQoS else { return }
        do throws(TunnelControlError) {
            try await control.setQoS(settings)
            tellQoS(settings)
            enforcedQoS = settings
            qosFault = nil
        } catch {
            qos.giveBack()
            let fault = "the tunnel did not take the QoS settings: \(error)"
            if fault != qosFault { log.error("\(fault)") }
            qosFault = fault
        }
    }

    /// Looks whether the local file says something else than it did.
    func lookAtLocalQoS() {
        guard var local = localQoS else { return }
        let isNew = local.look()
        localQoS = local
        guard isNew else { return }
        if let fault = local.fault { log.error("\(fault)") }
        qos.note(local: local.policy)
        // `branchline qos local` may have told the tunnel without its agent.
        enforcedQoS = nil
        qos.giveBack()
        noteChange()
    }

    /// What of all this is not in force, for the status.
    var qosNotes: [String] { [localQoS?.fault, qosFault].compactMap(\.self) }

    /// The line is the tunnel's to tell: on a gateway with many tenants it is not theirs.
    private func tellQoS(_ settings: QoSSettings) {
        guard settings.services != enforcedQoS?.services else { return }
        log.info("\(interface) has \(settings.services.count) QoS services")
    }
}
