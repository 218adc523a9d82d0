import ControlModel
import Cryptography
import LinuxNetworking
import Logging
import PacketFormats

/// What goes to disk, and when.
extension NodeAgent {
    /// At once: what the node believes by must not be forgotten.
    func saveTrust(always: Bool = false) {
        guard always || view.trustRevision != savedTrustRevision else { return }
        let revision = view.trustRevision
        do {
            try folder.save(
                StoredMembership.Trust(
                    view.verifier, ownChain: view.ownChain, keySince: keySince))
            savedTrustRevision = revision
        } catch {
            log.error("what the node believes by cannot be saved: \(error)")
        }
    }

    /// A little later: the rest, of which a newer one comes soon.
    func flushSoon() {
        guard flushDueAt == nil else { return }
        flushDueAt = Clock.monotonicNanoseconds()
        let milliseconds = view.acceptedCount > Self.manyPeers ? 5_000 : 200
        Task {
            try? await Task.sleep(for: .milliseconds(milliseconds))
            flush()
        }
    }

    func flush() {
        flushDueAt = nil
        saveTrust()
        // Before all of it is in the view, what is on disk is better.
        let isNew = savedNetworkNumber != view.number || savedNetworkRevision != view.trustRevision
        if kept == nil, isNew {
            do {
                try folder.save(StoredMembership.Network(view))
                savedNetworkNumber = view.number
                savedNetworkRevision = view.trustRevision
            } catch {
                log.error("the peers cannot be saved: \(error)")
            }
        }
        saveStatus()
    }

    func saveStatus() {
        do {
            try folder.save(status)
        } catch {
            log.error("the status cannot be saved: \(error)")
        }
    }

    private var status: AgentStatus {
        let lists = view.verifier.revocations
        let realms: [(String, RevocationList.Realm)] = [
            ("organisation", .organisation), (terms.tenant, .tenant(view.tenant)),
        ]
        let grant = view.own?.grant
        return AgentStatus(
            processIdentifier: ProcessSetup.processID, interface: interface, updatedAt: Self.now,
            state: view.standing.rawValue, stateDetail: view.standingReason?.description,
            isInForce: isInForce, tenant: terms.tenant, name: terms.name, node: terms.node,
            role: grant?.role.rawValue, profile: grant?.profile.rawValue,
            addresses: grant?.addresses.sorted().map(\.description) ?? [],
            routes: grant?.routes.sorted().map(\.description) ?? [],
            coordinator: terms.coordinator, connectedSince: connectedSince,
            connectionFault: connectionFault, lastNumber: view.number,
            revocationLists: realms.compactMap { name, realm in
                lists.list(of: realm).map {
                    AgentStatus.RevocationList(
                        realm: name, number: $0.number, issuedAt: $0.issuedAt,
                        entryCount: $0.entries.count)
                }
            },
            isServedStaleRevocations: view.isServedStaleRevocations,
            acceptedPeers: view.peers.count,
            gateways: view.peers.filter { $0.verified.grant.role == .gateway }.map(\.name).sorted(),
            gatewayHealth: gatewayReports.isEmpty ? nil : gatewayReports, peerNames: peerNames,
            refusals: view.refusals.total, newestRefusals: view.refusals.newest,
            grantExpiresAt: view.own?.validUntil, keySince: keySince,
            rotateEverySeconds: terms.rotateEverySeconds,
            isRotating: isRotating || nextKey != nil,
            notes: (tunnelNote.map { [$0] } ?? []) + qosNotes + setup.notes)
    }

    private var peerNames: [String: String]? {
        let peers = view.peers
        guard peers.count <= Self.namedPeersMax else { return nil }
        return Dictionary(
            peers.map { ($0.verified.publicKey.base64, $0.name) },
            uniquingKeysWith: { first, _ in first })
    }

    static var manyPeers: Int { 500 }
    /// So that the status stays a small file.
    private static var namedPeersMax: Int { 5_000 }
}
