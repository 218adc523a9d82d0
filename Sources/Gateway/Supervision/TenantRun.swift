import Cryptography
import EgressScheduling
import LinuxNetworking
import Logging
import NodeAgent
import PacketFormats
import SystemPackage
import TunnelEngine
import WireGuardConfiguration

/// Keeps one tenant served, from its definition to its removal. Steps, all serial:
///
/// 1. domain, interface and configuration socket (`TenantDevice.swift`);
/// 2. the engine takes the interface, with the tenant's limits and QoS (`TenantQoS.swift`);
/// 3. keys, peers, addresses and routes, from a file or by a ``NodeAgent``;
/// 4. until it ends: changes of the definition, and a look at the domain every second;
/// 5. what failed is told, and tried again after a pause.
actor TenantRun {
    /// What all tenants share.
    struct Surroundings: Sendable {
        let folder: GatewayFolder
        let engine: EngineControl
        let sharedPort: UInt16
        let queueCount: Int
        let log: Logger
    }

    private enum Event {
        case changed
        /// The engine has let go of the interface of this generation.
        case ended(Int)
        case tick
        case stop
    }

    private let surroundings: Surroundings
    private unowned let supervisor: Supervisor
    private let events: AsyncStream<Event>
    private let event: AsyncStream<Event>.Continuation

    private(set) var domain: TenantDomain
    private var report: GatewayStatus.Tenant
    /// As the supervisor knows it.
    private var told: GatewayStatus.Tenant?
    private var pauseSeconds = GatewayLimits.retrySecondsFirst
    private var isStopping = false
    private var isChanged = false

    // Of the interface that is served.
    private var generation = 0
    private var device: TenantDevice?
    private var control: TunnelControl?
    private var setup: InterfaceSetup?
    private var configuration: TenantConfiguration?
    private var routes: Set<IPPrefix> = []
    private var agent: AgentRun?
    private var qos = TenantQoS(isFresh: true)
    private var hook: (path: String, task: BesideTask)?
    private var servedSince: UInt64?
    private var servedDomain: TenantDomain?
    private var places: PeerPlaces
    private var placesNotedAt: UInt64 = 0
    /// Its routes may be there already.
    private var isInherited = false

    init(
        _ domain: TenantDomain, _ report: GatewayStatus.Tenant, _ surroundings: Surroundings,
        _ supervisor: Supervisor
    ) {
        self.domain = domain
        self.report = report
        self.surroundings = surroundings
        self.supervisor = supervisor
        places = PeerPlaces(path: surroundings.folder.placesFile(of: domain.tenant))
        (events, event) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(64))
    }

    private var log: Logger { surroundings.log }

    /// Serves until ``stop()``.
    func run() async {
        let ticking = Task { [event] in
            while !Task.isCancelled {
                try? await Task.sleep(for: .seconds(GatewayLimits.reviewSeconds))
                event.yield(.tick)
            }
        }
        defer { ticking.cancel() }
        var iterator = events.makeAsyncIterator()
        while !isStopping {
            do throws(TenantFault) {
                try await begin()
                try await serve(&iterator)
                await end()
            } catch {
                await end()
                await tell(error)
                await pause(&iterator)
            }
        }
    }

    /// Follows a definition that does not differ in place; also looks at the files it names anew.
    func update(_ domain: TenantDomain, definition: String) async {
        self.domain = domain
        report.definition = definition
        report.isChanging = true
        isChanged = true
        event.yield(.changed)
        await note()
    }

    /// What is wrong with a file that has changed; the tenant is served as it was.
    func note(_ fault: TenantFault?, definition: String) async {
        report.definition = definition
        report.fault = fault.map { GatewayStatus.Fault($0, at: Supervisor.now) }
        if let fault {
            report.lastFault = report.fault
            log.error("\(domain.tenant): \(fault); it is served as it was before")
        }
        await note()
    }

    func stop() {
        isStopping = true
        event.yield(.stop)
    }

    // MARK: - Beginning

    private func begin() async throws(TenantFault) {
        isChanged = false
        report.isChanging = nil
        let begun = domain
        report.state = .waiting
        report.retryAt = nil
        await note()
        let configuration = try await readConfiguration()
        let descriptors = surroundings.queueCount + GatewayLimits.descriptorsPerTenant
            + (domain.membership == nil ? 0 : GatewayLimits.descriptorsPerMembership)
        try await supervisor.reserveDescriptors(descriptors, for: domain.tenant)
        do throws(TenantFault) {
            try await makeInterface()
            try await bring(configuration)
        } catch {
            await supervisor.releaseDescriptors(descriptors)
            throw error
        }
        await supervisor.releaseDescriptors(descriptors)
        servedSince = Clock.monotonicNanoseconds()
        servedDomain = begun
        await tellServed()
    }

    private func readConfiguration() async throws(TenantFault) -> TenantConfiguration? {
        guard let path = domain.configuration else { return nil }
        let configuration = try TenantConfiguration(
            of: domain, at: path, sharedPort: surroundings.sharedPort)
        if let key = configuration.publicKey {
            try await supervisor.claim(key, for: domain.tenant)
        }
        return configuration
    }

    private func makeInterface() async throws(TenantFault) {
        isInherited = false
        if let control = await supervisor.takeInherited(domain) {
            return try await use(control)
        }
        let device = try TenantDevice.make(domain, queueCount: surroundings.queueCount)
        self.device = device
        generation += 1
        if let made = device.madeNamespace { report.ownNamespace = made }
        try await claimNamespace()
        do throws(TunnelControlError) {
            // It closes the device where it refuses it.
            guard let setup = device.setup else { return }
            let control = try await surroundings.engine.add(setup)
            self.control = control
            watch(control)
            qos = TenantQoS(isFresh: true)
            try await useQoS()
        } catch {
            throw Self.fault(of: error)
        }
    }

    /// Goes on with what an earlier process has made.
    private func use(_ control: TunnelControl) async throws(TenantFault) {
        self.control = control
        generation += 1
        isInherited = true
        watch(control)
        device = try TenantDevice.inherited(domain)
        try await claimNamespace()
        qos = TenantQoS(isFresh: false)
        do throws(TunnelControlError) {
            try await useQoS()
        } catch {
            throw Self.fault(of: error)
        }
    }

    /// Tells the tunnel of limits and QoS settings that are not yet in force.
    private func useQoS() async throws(TunnelControlError) {
        guard let control else { return }
        let rates = domain.membership == nil ? nil : agent?.rates ?? TenantRates()
        let warning = qos.warning
        let (step, isFaultNew) = qos.step(of: domain, rates: rates)
        if let new = qos.warning, new != warning { log.warning("\(domain.tenant): \(new)") }
        if isFaultNew, let fault = qos.fault { log.error("\(domain.tenant): \(fault)") }
        if let limits = step.limits { try await control.setLimits(limits) }
        if let settings = step.settings { try await control.setQoS(settings) }
        qos.note(step)
    }

    private func claimNamespace() async throws(TenantFault) {
        guard case .namespace(let namespace) = device?.place else { return }
        try await supervisor.claim(namespace, for: domain.tenant)
    }

    /// Lets another process go on with all of it: only the agent has something to write.
    func leave() async {
        await agent?.finish([])
        agent = nil
    }

    private func watch(_ control: TunnelControl) {
        Task { [event, generation] in
            // Also where it was stopped by us: then nobody listens any more.
            _ = await control.outcome
            event.yield(.ended(generation))
        }
    }

    private func bring(_ configuration: TenantConfiguration?) async throws(TenantFault) {
        guard let device else { return }
        if let path = domain.membership, let control {
            agent = try AgentRun(
                MembershipFolder(path: path), of: domain, place: device.place, control: control,
                log: log)
            return
        }
        do {
            setup = try InterfaceSetup(name: domain.interface, place: device.place)
        } catch {
            throw TenantFault(.networkUnusable, "\(error)")
        }
        try await apply(configuration)
        await runHook()
    }

    /// Has the operator's program told of branches; an agent does that by itself.
    private func runHook() async {
        guard agent == nil, let control, domain.routeHook != hook?.path else { return }
        let old = hook
        hook = domain.routeHook.map { path in
            let hook = RouteHook(
                path: path, interface: domain.interface, tenant: domain.tenant,
                control: control, log: log)
            return (path, BesideTask { await hook.run() })
        }
        await old?.task.finish()
    }

    // MARK: - Serving

    /// Returns when it is to stop or to begin anew.
    private func serve(
        _ iterator: inout AsyncStream<Event>.Iterator
    ) async throws(TenantFault) {
        while !isStopping, let event = await iterator.next(isolation: self) {
            switch event {
            case .stop: return
            case .changed: await follow()
            case .ended(let generation):
                // One that was served before may be told of late.
                if generation == self.generation { try ended() }
            case .tick: try await review()
            }
        }
    }

    private func ended() throws(TenantFault) {
        if let fault = device?.placeFault(domain) { throw fault }
        throw TenantFault(
            .deviceRemoved,
            "the interface \(domain.interface) of \(domain.tenant) was deleted; it is made again")
    }

    private func review() async throws(TenantFault) {
        if let fault = device?.placeFault(domain) { throw fault }
        if let agent {
            if let fault = agent.fault { throw fault }
            if report.state == .waiting || !report.notes.isEmpty { await tellServed() }
        }
        await notePlaces()
        // What a policy or a file says changes by itself; if it is refused, it is tried again.
        let notes = qos.notes
        try? await useQoS()
        if qos.notes != notes { await tellServed() }
        if let servedSince,
            Clock.monotonicNanoseconds() - servedSince
                > UInt64(GatewayLimits.steadySeconds) * 1_000_000_000
        {
            pauseSeconds = GatewayLimits.retrySecondsFirst
        }
    }

    /// Takes up a changed definition without an interruption. What is wrong with it is told, and
    /// the tenant served as it was.
    private func follow() async {
        guard isChanged, control != nil else { return }
        isChanged = false
        report.isChanging = nil
        if isAsServed {
            report.fault = nil
            return await tellServed()
        }
        do throws(TenantFault) {
            let configuration = try await readConfiguration()
            do throws(TunnelControlError) {
                try await useQoS()
            } catch {
                throw Self.fault(of: error)
            }
            if agent == nil { try await apply(configuration) }
            await runHook()
            servedDomain = domain
            report.fault = nil
            await tellServed()
        } catch {
            await note(error, definition: report.definition)
        }
    }

    /// Whether the definition and the file that it names are those that are in force.
    private var isAsServed: Bool {
        guard domain == servedDomain else { return false }
        guard let path = domain.configuration else { return true }
        return configuration?.isUnchanged(at: path) ?? false
    }

    private func apply(_ configuration: TenantConfiguration?) async throws(TenantFault) {
        guard let control else { return }
        if let configuration {
            let endpoints = await lookUp(configuration.names)
            do throws(TunnelControlError) {
                let present = try await control.status()
                try await control.apply(
                    configuration.settings(
                        from: present,
                        previous: self.configuration ?? (isInherited ? configuration : nil),
                        endpoints: endpoints, lastPlace: { places[$0] }))
                greet(configuration, besides: present)
            } catch {
                throw Self.fault(of: error)
            }
        }
        self.configuration = configuration
        let addresses = configuration?.addresses ?? domain.addresses
        setup?.setAddresses(
            Set(addresses.map { InterfaceAddress($0.address, prefixLength: $0.prefixLength) }))
        try checkSetup()
        if let mtu = configuration?.file.interface.mtu {
            setup?.setMTU(mtu)
        } else {
            let peers = (try? await control.status())?.peers ?? []
            setup?.setMTU(endpoints: peers.compactMap(\.endpoint))
        }
        try checkSetup()
        // The engine hears of changes in another namespace a little later by itself.
        try? await control.noteLink()
        let wanted = configuration?.routes ?? []
        setup?.inheritsRoutes = isInherited
        setup?.changeRoutes(lost: routes.subtracting(wanted), new: wanted.subtracting(routes))
        isInherited = false
        routes = wanted
    }

    /// Begins to talk to new peers where they were last: each keepalive is worth one handshake.
    private func greet(_ configuration: TenantConfiguration, besides present: DeviceStatus) {
        let known = Set(present.peers.map(\.publicKey))
        let greeted = configuration.file.peers.filter { peer in
            peer.endpoint == nil && (peer.persistentKeepaliveSeconds ?? 0) == 0
                && !known.contains(peer.publicKey) && places[peer.publicKey] != nil
        }.map(\.publicKey)
        guard !greeted.isEmpty, let control else { return }
        Task {
            for seconds in [GatewayLimits.greetingKeepaliveSeconds, 0] {
                for start in stride(from: 0, to: greeted.count, by: GatewayLimits.greetedAtOnce) {
                    let batch = greeted[start...].prefix(GatewayLimits.greetedAtOnce)
                    let peers = batch.map {
                        PeerSettings(
                            publicKey: $0, updateOnly: true, persistentKeepaliveSeconds: seconds)
                    }
                    try? await control.apply(DeviceSettings(peers: peers))
                    try? await Task.sleep(for: .milliseconds(GatewayLimits.greetingMilliseconds))
                }
                try? await Task.sleep(for: .seconds(GatewayLimits.greetingSeconds))
            }
        }
    }

    /// Keeps where the peers are, now and then.
    private func notePlaces() async {
        let now = Clock.monotonicNanoseconds()
        guard agent == nil, let configuration, now >= placesNotedAt else { return }
        let isLarge = configuration.file.peers.count > GatewayLimits.manyPeers
        placesNotedAt = now + 1_000_000_000
            * (isLarge ? GatewayLimits.placesSecondsOfMany : GatewayLimits.placesSeconds)
        guard let status = try? await control?.status() else { return }
        places.note(status.peers)
        places.save()
    }

    private func checkSetup() throws(TenantFault) {
        guard let note = setup?.notes.first else { return }
        throw TenantFault(.networkUnusable, note)
    }

    /// One after the other: a gateway's branches seldom have names.
    private func lookUp(_ names: Set<HostEndpoint>) async -> [HostEndpoint: Endpoint] {
        var found: [HostEndpoint: Endpoint] = [:]
        for host in names {
            // The supervisor, and with it every tenant, waits for the end of one that stops.
            guard !isStopping, case .name(let name, let port) = host else { continue }
            found[host] = await NameLookup.endpoint(of: name, port: port)
            if found[host] == nil {
                log.warning("\(domain.tenant): the endpoint \(host) cannot be looked up")
            }
        }
        return found
    }

    // MARK: - Ending

    private func end() async {
        if let agent {
            await agent.finish((try? await control?.status().peers) ?? [])
            self.agent = nil
        } else {
            placesNotedAt = 0
            await notePlaces()
        }
        await hook?.task.finish()
        hook = nil
        await control?.remove()
        device?.retire()
        control = nil
        device = nil
        setup = nil
        configuration = nil
        routes = []
        await supervisor.releaseKey(of: domain.tenant)
        await supervisor.releaseNamespace(of: domain.tenant)
    }

    private func pause(_ iterator: inout AsyncStream<Event>.Iterator) async {
        let began = Clock.monotonicNanoseconds()
        let until = began + UInt64(pauseSeconds) * 1_000_000_000
        pauseSeconds = min(pauseSeconds * 2, GatewayLimits.retrySecondsMax)
        while !isStopping, !isChanged, Clock.monotonicNanoseconds() < until {
            guard await iterator.next(isolation: self) != nil else { return }
        }
        report.restarts += 1
    }

    // MARK: - Telling

    private func tellServed() async {
        let before = told
        report.notes = (configuration?.notes ?? []) + (setup?.notes ?? [])
            + qos.notes
        report.state = .up
        if let agent {
            let status = agent.status
            report.state = status?.isInForce == true ? .up : .waiting
            report.notes = status.map { status in
                let standing = status.isInForce
                    ? [] : ["it is \(status.state): \(status.stateDetail ?? "no reason is known")"]
                return standing + status.notes
            } ?? ["the agent has told nothing yet"]
            report.notes += qos.notes
        }
        if report.state == .up { report.fault = nil }
        if report.state == .up, before?.state != .up {
            report.since = Supervisor.now
            log.notice("\(domain.tenant) is served as \(domain.interface) in \(domain.place)")
        }
        if report != before { await note() }
    }

    private func note() async {
        told = report
        await supervisor.note(report)
    }

    private func tell(_ fault: TenantFault) async {
        let isNew = report.fault?.detail != fault.detail
        report.state = .faulty
        if isNew { report.since = Supervisor.now }
        report.fault = GatewayStatus.Fault(fault, at: Supervisor.now)
        report.lastFault = report.fault
        report.retryAt = Supervisor.now + pauseSeconds
        report.notes = []
        if isNew {
            log.error("\(domain.tenant) is not served: \(fault)")
        } else {
            log.debug("\(domain.tenant) is still not served: \(fault)")
        }
        await note()
    }

    private static func fault(of error: TunnelControlError) -> TenantFault {
        switch error {
        case .refused(let refusal): TenantFault(.engineRefused, "\(refusal)")
        case .busy: TenantFault(.engineRefused, "the engine has too much to do")
        case .ended: TenantFault(.deviceRemoved, "the interface has ended")
        case .tooManyTunnels: TenantFault(.tooManyTenants, "the engine serves no more tenants")
        case .failed(let words):
            words.contains("\(Errno.tooManyOpenFiles)")
                ? TenantFault(.descriptorsExhausted, words) : TenantFault(.engineRefused, words)
        }
    }
}
