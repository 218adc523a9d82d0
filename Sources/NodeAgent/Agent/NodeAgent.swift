import AccessControl
public import LinuxNetworking
public import Logging
public import TunnelEngine
import ControlModel
import CoordinatorClient
import Cryptography
import PacketFormats
public import WireGuardConfiguration

/// Keeps a tunnel as the verified grants of its network say.
///
/// 1. What is on disk is in force at once, without the coordinator (``applyChanges()``).
/// 2. The watch (`NodeAgent+Watch.swift`) takes what the coordinator says into the view.
/// 3. What changed there goes to the tunnel (its access rules and QoS settings first), the
///    interface, the disk and the status, in this order and one change after the other, however
///    fast they come.
/// 4. Beside these: reports (`NodeAgent+Reports.swift`), the rotation of the node's own key
///    (`NodeAgent+Rotation.swift`), where peers are (`NodeAgent+Endpoints.swift`) and what is due
///    at a time (``keepTime()``).
public actor NodeAgent {
    let folder: MembershipFolder
    let interface: String
    let control: TunnelControl
    let connectionsMax: Int?
    let log: Logger
    let terms: StoredMembership.Terms
    let routeHook: RouteHook?
    let nodeKey: SigningKey
    let credential: String
    let client: CoordinatorClient

    var view: NetworkView
    var plan = TunnelPlan()
    var access = AccessBook()
    /// The rules in force.
    var enforced: AccessFilter?
    var qos = QoSBook()
    /// The settings in force.
    var enforcedQoS: QoSSettings?
    /// Why the newest are not.
    var qosFault: String?
    var localQoS: LocalQoS?
    /// Hears what the tenant is promised by a policy, each time that it may have changed.
    let tellRates: @Sendable (TenantRates) -> Void
    let place: InterfacePlace
    var setup: InterfaceSetup
    var endpoints = EndpointBook()
    /// Name lookups under way, each on a thread of its own.
    private var lookupCount = 0
    var lastEndpoints: LastEndpoints
    var endpointsNotedAt: Int64 = 0
    /// Peers to begin a handshake with.
    var greeted: [VerifyingKey] = []
    var isGreeting = false
    var wireGuardKey: PrivateKey
    var nextKey: PrivateKey?
    var keySince: Int64

    /// The tunnel has its key and port.
    var isConfigured = false
    var isInForce = false
    /// What was on disk and is not all in the view yet.
    var kept: StoredMembership.Network?
    /// Peers that the tunnel has from an earlier agent, until they are found in the view.
    var inherited: [PublicKey: PeerStatus] = [:]
    /// Peers to look at although nothing was said of them.
    var revisited: Set<VerifyingKey> = []
    /// Of the view, when the tunnel was last made so.
    var appliedNumber: Int64 = 0
    /// What the coordinator that is connected was told of it.
    var reportedNumber: Int64?
    var savedTrustRevision = 0
    var savedNetworkNumber: Int64 = -1
    var savedNetworkRevision = 0
    var connectedSince: Int64?
    var connectionFault: String?
    var wantsWholeState = false
    var isRotating = false
    var rotationDueAt: Int64?
    var tunnelNote: String?
    /// While there are several gateways, and afterwards.
    var prober: (prober: GatewayProber, task: Task<Void, Never>)?
    var gatewayReports: [GatewayReport] = []
    var probed: [GatewayHealth.Gateway] = []
    var flushDueAt: UInt64?

    private let changes: AsyncStream<Void>
    private let changed: AsyncStream<Void>.Continuation
    let reportsDue: AsyncStream<Void>
    let reportDue: AsyncStream<Void>.Continuation

    /// Reads the membership; nothing happens before ``run()``.
    ///
    /// - Parameters:
    ///   - routeHook: In place of the one that the node joined with.
    ///   - connectionsMax: That access rules remember; `nil` for what suits the role.
    ///   - qosFile: What it says counts beside the coordinator's policy.
    ///   - tellRates: Called with what a policy promises to the tenant.
    public init(
        folder: MembershipFolder, interface: String, place: InterfacePlace = .host,
        control: TunnelControl, log: Logger, routeHook: String? = nil, connectionsMax: Int? = nil,
        qosFile: QoSFile? = nil, tellRates: @escaping @Sendable (TenantRates) -> Void = { _ in }
    ) throws {
        let stored = try folder.load()
        guard let verifier = stored.trust.verifier, let tenant = Name(stored.terms.tenant) else {
            throw MembershipFault.damaged(path: folder.path, "no tenant")
        }
        let now = Self.now
        self.folder = folder
        self.interface = interface
        self.control = control
        self.log = log
        self.connectionsMax = connectionsMax
        localQoS = qosFile.map { LocalQoS($0) }
        self.tellRates = tellRates
        terms = stored.terms
        self.routeHook = (routeHook ?? stored.terms.routeHook).map {
            RouteHook(
                path: $0, interface: interface, tenant: stored.terms.tenant, control: control,
                log: log)
        }
        nodeKey = stored.nodeKey.clone()
        credential = stored.credential
        client = try CoordinatorClient(
            coordinator: stored.terms.coordinator,
            pin: stored.terms.serverPin.flatMap { ServerPin(base64URL: $0) },
            credential: stored.credential)
        self.place = place
        setup = try InterfaceSetup(name: interface, place: place)
        wireGuardKey = stored.wireGuardKey
        nextKey = stored.nextKey
        keySince = stored.trust.keySince
        let keys = [stored.wireGuardKey.publicKey] + (nextKey.map { [$0.publicKey] } ?? [])
        view = NetworkView(
            node: stored.nodeKey.verifyingKey, tenant: tenant, ownKeys: Set(keys),
            verifier: verifier, ownChain: stored.trust.ownChain, at: now)
        kept = stored.network
        lastEndpoints = LastEndpoints(folder.endpoints())
        (changes, changed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        (reportsDue, reportDue) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Serves until the task is cancelled.
    ///
    /// - Parameter lastPeers: The peers as the tunnel left them, asked for at the end.
    public func run(lastPeers: @Sendable () -> [PeerStatus] = { [] }) async {
        completeRotation()
        await inheritPeers()
        lookAtLocalQoS()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.applyChanges() }
            group.addTask {
                await self.restorePeers()
                await self.watch()
            }
            group.addTask { await self.report() }
            group.addTask { await self.keepTime() }
            if let routeHook { group.addTask { await routeHook.run() } }
        }
        prober?.task.cancel()
        lastEndpoints.note(lastPeers(), of: plan.applied)
        saveEndpoints()
        flush()
    }

    /// Takes up the peers from disk, the first of them at once: thousands take seconds to verify.
    private func restorePeers() async {
        guard let network = kept else { return }
        var left = network.peers[...]
        repeat {
            view.restore(left.prefix(Self.peersPerPass), of: network, at: Self.now)
            left = left.dropFirst(Self.peersPerPass)
            noteChange()
            await Task.yield()
        } while !left.isEmpty && !Task.isCancelled
        guard left.isEmpty else { return }
        kept = nil
        if !inherited.isEmpty { noteChange() }
    }

    /// Takes note of what an earlier agent has made of the tunnel: its peers are not disturbed.
    private func inheritPeers() async {
        guard let peers = try? await control.status().peers else { return }
        inherited = Dictionary(
            peers.map { ($0.publicKey, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// Peers of an earlier agent that should not be: known once all from disk is in the view.
    private func takeStrangers() -> [PeerSettings] {
        guard kept == nil else { return [] }
        defer { inherited = [:] }
        return inherited.keys.sorted().map { PeerSettings(publicKey: $0, remove: true) }
    }

    /// The view, or what it is made into, is not what it was.
    func noteChange() { changed.yield() }

    static var now: Int64 { Int64(clamping: Clock.wallClock().seconds) }

    // MARK: - Making it so

    private func applyChanges() async {
        for await _ in changes {
            await applyOnce()
            if Task.isCancelled { return }
        }
    }

    private func applyOnce() async {
        let number = view.number
        var wanted: [VerifyingKey: TunnelPlan.Peer?] = [:]
        for node in view.takeChanged().union(revisited) {
            let peer = view.peer(node)
            access.note(peer?.verified.grant, of: node)
            qos.note(peer.map { QoSBook.Peer($0) }, of: node)
            wanted.updateValue(peer.map(tunnelPeer), forKey: node)
        }
        revisited = []
        let addresses = view.standing == .active ? view.own?.grant.addresses ?? [] : []
        guard await enforceRules() else {
            revisited.formUnion(wanted.keys)
            return flushSoon()
        }
        await enforceQoS()
        for case let (node, peer?) in wanted {
            guard let present = inherited.removeValue(forKey: peer.publicKey) else { continue }
            plan.inherit(present, as: peer, of: node)
        }
        let step = plan.step(to: wanted) { lastEndpoints[$0] }
        guard await tell(takeStrangers() + step.settings) else {
            revisited.formUnion(wanted.keys)
            return flushSoon()
        }
        await probeGateways(from: addresses)
        setup.setAddresses(addresses)
        setup.setMTU(endpoints: plan.applied.values.compactMap(\.endpoint))
        // Of changes elsewhere the tunnel hears a little later by itself.
        if place != .host, !isInForce { try? await control.noteLink() }
        setup.changeRoutes(lost: step.lostPrefixes, new: step.newPrefixes)
        appliedNumber = number
        saveTrust()
        let wasInForce = isInForce
        isInForce = view.standing == .active
        greetSoon(step.greeted)
        if isInForce != wasInForce {
            log.notice("\(interface) is \(view.standing.rawValue) in \(terms.tenant)")
            saveStatus()
        }
        flushSoon()
        reportDue.yield()
        lookUpNames()
    }

    private func tunnelPeer(_ peer: NetworkView.Peer) -> TunnelPlan.Peer {
        let isGateway = peer.verified.grant.role == .gateway
        var endpoint = isGateway ? peer.endpoint.flatMap { endpoints.endpoint($0) } : nil
        if let address = endpoint?.address, view.carries(address) {
            log.warning("\(peer.name) says that it is reached at \(address), inside the tunnel")
            endpoint = nil
        }
        return TunnelPlan.Peer(
            publicKey: peer.verified.publicKey, endpoint: endpoint,
            // A gateway cannot begin to talk to a node behind an address translation.
            keepaliveSeconds: isGateway ? Self.keepaliveSeconds : 0,
            profile: view.profile(of: peer), prefixes: peer.prefixes,
            sharedPrefixes: peer.sharedPrefixes, admission: peer.admission)
    }

    /// - Returns: Whether the tunnel is as it was told. What it may be instead is found out.
    private func tell(_ peers: [PeerSettings]) async -> Bool {
        var settings = DeviceSettings(peers: peers)
        if !isConfigured {
            settings.privateKey = .set(wireGuardKey)
            settings.listenPort = terms.listenPort
        } else if peers.isEmpty {
            return true
        }
        do throws(TunnelControlError) {
            try await control.apply(settings)
            isConfigured = true
            tunnelNote = nil
            return true
        } catch {
            let note = "the tunnel did not take its settings: \(error)"
            if note != tunnelNote { log.error("\(note)") }
            tunnelNote = note
            await recoverPlan()
            await prober?.prober.forgetTold()
            return false
        }
    }

    private func recoverPlan() async {
        guard let status = try? await control.status() else { return }
        let strangers = plan.recover(from: status.peers)
        revisited.formUnion(view.peers.map(\.node))
        guard !strangers.isEmpty else { return }
        try? await control.apply(DeviceSettings(peers: strangers))
    }

    // MARK: - Names

    private func lookUpNames() {
        let used = Set(view.peers.compactMap(\.endpoint))
        let due = endpoints.takeDue(
            at: Self.now, countMax: Self.lookupsMax - lookupCount, isUsed: used.contains)
        lookupCount += due.count
        for (text, name, port) in due {
            Task {
                let endpoint = await NameLookup.endpoint(of: name, port: port)
                lookupCount -= 1
                note(endpoint, of: text)
                lookUpNames()
            }
        }
    }

    private func note(_ endpoint: Endpoint?, of text: String) {
        if endpoint == nil { log.info("\(text) cannot be looked up; it is tried again") }
        guard endpoints.note(endpoint, of: text, at: Self.now) else { return }
        revisited.formUnion(view.peers.filter { $0.endpoint == text }.map(\.node))
        noteChange()
    }

    // MARK: - Time

    /// Drops what expires, tries again what failed, rotates when it is time.
    private func keepTime() async {
        while !Task.isCancelled {
            let now = Self.now
            if let deadline = view.nextDeadline, deadline <= now {
                view.advance(to: now)
                noteChange()
            }
            lookAtLocalQoS()
            if !isConfigured || !revisited.isEmpty || qosFault != nil { noteChange() }
            lookUpNames()
            await noteEndpoints()
            if isRotationDue(at: now) {
                isRotating = true
                Task { await rotate() }
            }
            let untilDeadline = (view.nextDeadline ?? .max) - Self.now
            let seconds = min(max(untilDeadline, 1), Self.tickSecondsMax)
            try? await Task.sleep(for: .seconds(seconds))
        }
    }

    private static let keepaliveSeconds: UInt16 = 25
    private static let lookupsMax = 8
    private static let tickSecondsMax: Int64 = 5
    private static let peersPerPass = 200
}
