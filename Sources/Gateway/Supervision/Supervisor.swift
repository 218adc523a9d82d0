import Cryptography
import LinuxNetworking
public import Logging
public import TunnelEngine

/// Keeps a gateway's tenants as the files of its folder say.
///
/// Each tenant has a ``TenantRun`` of its own; what fails in one is told in `status.json`, and
/// touches no other.
public actor Supervisor {
    private let folder: GatewayFolder
    private let settings: GatewaySettings
    private let surroundings: TenantRun.Surroundings
    private let log: Logger

    private var runs: [String: (run: TenantRun, task: Task<Void, Never>)] = [:]
    /// As they were begun or updated last.
    private var served: [String: TenantDomain] = [:]
    private var status: GatewayStatus
    private var tenants: [String: GatewayStatus.Tenant] = [:]
    private var isStatusDue = false
    private var isFinishing = false
    private var isReading = false
    /// What the engine was told of the line; `nil` before it was.
    private var link: GatewaySettings.Link??
    private var isStale = false
    /// Tunnels of an earlier process by interface, until a tenant goes on with each.
    private var inherited: [String: TunnelControl]
    /// Tenants as that process told of them.
    private let past: GatewayStatus?
    /// Another process goes on with the tenants, and tells of them.
    private var isLeft = false
    private var keys: [PublicKey: String] = [:]
    private var namespaces: [NetworkNamespace: String] = [:]
    /// Of tenants that are being set up.
    private var reservedDescriptors = 0

    /// - Parameters:
    ///   - folder: Locked by this process.
    ///   - settings: As the engine was started with.
    ///   - queueCount: Queues of each tenant's interface: one for each worker.
    ///   - inherited: What the engine has from an earlier process, by interface.
    public init(
        _ folder: GatewayFolder, _ settings: GatewaySettings, engine: EngineControl,
        queueCount: Int, inherited: [String: TunnelControl] = [:], log: Logger
    ) {
        self.folder = folder
        self.settings = settings
        self.log = log
        surroundings = TenantRun.Surroundings(
            folder: folder, engine: engine, sharedPort: settings.listenPort,
            queueCount: queueCount, log: log)
        let old = folder.status()
        self.inherited = inherited
        past = old
        // Namespaces that an earlier process made are still the gateway's to remove.
        for tenant in old?.tenants ?? [] where tenant.ownNamespace != nil {
            tenants[tenant.tenant] = tenant
        }
        status = GatewayStatus(
            processIdentifier: ProcessSetup.processID, startedAt: Self.now, updatedAt: Self.now,
            settings: settings, readings: 0, notes: [], tenants: [])
    }

    /// Follows the folder until the task is cancelled.
    ///
    /// - Parameters:
    ///   - reloads: When it has changed.
    ///   - isReady: Called when it has been read for the first time.
    public func run(_ reloads: AsyncStream<Void>, isReady: @Sendable () -> Void) async {
        // Once the engine answers, it has its sockets: tenants share what descriptors are left.
        await reviewSocket()
        await read()
        await removeStrangers()
        isReady()
        let retrying = Task {
            while (try? await Task.sleep(for: .seconds(GatewayLimits.retrySecondsMax))) != nil {
                if hasFileFaults { await read() }
            }
        }
        let reviewing = Task {
            while (try? await Task.sleep(for: .seconds(GatewayLimits.reviewSeconds))) != nil {
                if await reviewSocket() { save() }
            }
        }
        for await _ in reloads { await read() }
        retrying.cancel()
        reviewing.cancel()
    }

    /// - Returns: Whether it has come or gone why the port is not open.
    @discardableResult
    private func reviewSocket() async -> Bool {
        let fault: String?
        do {
            fault = try await surroundings.engine.socketFault()
        } catch {
            return false
        }
        defer { status.socketFault = fault }
        return status.socketFault != fault
    }

    /// Ends every tenant, and waits for what each has to write.
    public func finish() async {
        isFinishing = true
        for (run, _) in runs.values { await run.stop() }
        for (_, task) in runs.values { await task.value }
        runs = [:]
        save()
    }

    /// Leaves every tenant as it is to another process.
    public func leave() async {
        isFinishing = true
        isLeft = true
        for (run, _) in runs.values { await run.leave() }
    }

    static var now: Int64 { Int64(clamping: Clock.wallClock().seconds) }

    // MARK: - Reading the folder

    private var hasFileFaults: Bool {
        tenants.contains { runs[$0.key] == nil && $0.value.fault != nil }
    }

    private func read() async {
        guard !isFinishing else { return }
        guard !isReading else {
            // Changed again, while what was read before is being made so.
            return isStale = true
        }
        isReading = true
        repeat {
            isStale = false
            await readOnce()
        } while isStale
        isReading = false
    }

    private func readOnce() async {
        let entries = folder.read()
        let outcomes = GatewayReview.review(entries, served: served)
        await readSettings()
        // What goes makes way for what comes.
        await stop(served.keys.filter { name in
            guard let outcome = outcomes[name] else { return true }
            guard let old = served[name], case .success(let new) = outcome else { return false }
            return new.differsInPlace(from: old)
        })
        for name in Set(tenants.keys).subtracting(entries.map(\.tenant)) { forget(name) }
        for entry in entries {
            guard let outcome = outcomes[entry.tenant] else { continue }
            switch outcome {
            case .success(let domain): await serve(domain, entry.definition)
            case .failure(let fault): await refuse(entry.tenant, fault, entry.definition)
            }
        }
        status.readings += 1
        save()
    }

    private func stop(_ names: [String]) async {
        for name in names { await runs[name]?.run.stop() }
        for name in names {
            await runs[name]?.task.value
            runs[name] = nil
            // It may not have come to go on with what an earlier process had for it.
            if let domain = served.removeValue(forKey: name) {
                await inherited.removeValue(forKey: domain.interface)?.remove()
            }
            log.notice("\(name) is not served any more")
        }
    }

    /// Removes what was made for a tenant that is gone.
    private func forget(_ name: String) {
        guard let tenant = tenants.removeValue(forKey: name) else { return }
        folder.removePlaces(of: name)
        if let namespace = tenant.ownNamespace { removeNamespace(namespace, of: name) }
    }

    private func removeNamespace(_ namespace: String, of name: String) {
        let isUsed = served.values.contains { $0.place.namespaceName == namespace }
        guard !isUsed else { return }
        do {
            try TenantDevice.removeNamespace(namespace)
        } catch {
            log.info("the namespace \(namespace) of \(name) is not removed: \(error)")
        }
    }

    private func serve(_ domain: TenantDomain, _ definition: String) async {
        served[domain.tenant] = domain
        if let (run, _) = runs[domain.tenant] {
            return await run.update(domain, definition: definition)
        }
        let old = tenants[domain.tenant]
        var ownNamespace = old?.ownNamespace
        if let namespace = ownNamespace, domain.place.namespaceName != namespace {
            removeNamespace(namespace, of: domain.tenant)
            ownNamespace = nil
        }
        let report = GatewayStatus.Tenant(
            tenant: domain.tenant, interface: domain.interface,
            place: domain.place.description, state: .waiting, since: Self.now, fault: nil,
            lastFault: old?.lastFault, retryAt: nil, restarts: 0, notes: [],
            definition: definition, ownNamespace: ownNamespace)
        tenants[domain.tenant] = report
        let run = TenantRun(domain, report, surroundings, self)
        runs[domain.tenant] = (run, Task { await run.run() })
    }

    private func refuse(_ name: String, _ fault: TenantFault, _ definition: String) async {
        if let (run, _) = runs[name] {
            return await run.note(fault, definition: definition)
        }
        let old = tenants[name]
        let told = GatewayStatus.Fault(fault, at: Self.now)
        if old?.fault?.detail != fault.detail { log.error("\(name) is not served: \(fault)") }
        tenants[name] = GatewayStatus.Tenant(
            tenant: name, interface: nil, place: nil, state: .faulty,
            since: old?.fault?.detail == fault.detail ? old?.since ?? Self.now : Self.now,
            fault: told, lastFault: told, retryAt: Self.now + GatewayLimits.retrySecondsMax,
            restarts: 0, notes: [], definition: definition, ownNamespace: old?.ownNamespace)
    }

    /// What all tenants share is settled when the gateway starts, but for the line.
    private func readSettings() async {
        do throws(TenantFault) {
            var wanted = try folder.settings()
            let fault = await use(wanted.link)
            wanted.link = settings.link
            let notes = wanted == settings
                ? [] : ["gateway.json has changed; what is in it counts from the next start on"]
            status.notes = notes + (fault.map { [$0] } ?? [])
        } catch {
            status.notes = ["\(error); what was read at the start still counts"]
        }
    }

    /// - Returns: Why the line is not shaped as it should be.
    private func use(_ wanted: GatewaySettings.Link?) async -> String? {
        guard link != .some(wanted) else { return nil }
        do throws(TunnelControlError) {
            try await surroundings.engine.setLink(wanted?.line)
            link = .some(wanted)
            status.settings.link = wanted
            let words = wanted.map { "has a line of \($0.rate) bit/s" } ?? "knows no line's rate"
            log.info("the gateway \(words)")
            return nil
        } catch {
            return "the rate of \"link\" is not in force: \(error)"
        }
    }

    // MARK: - What tenants ask for

    /// A key stands for one tenant: by it alone a datagram finds its own.
    func claim(_ key: PublicKey, for tenant: String) throws(TenantFault) {
        if let owner = keys[key], owner != tenant {
            throw TenantFault(
                .duplicateKey,
                "\(tenant) has the same private key as \(owner); make another with "
                    + "`branchline genkey`")
        }
        releaseKey(of: tenant)
        keys[key] = tenant
    }

    func releaseKey(of tenant: String) {
        for (key, owner) in keys where owner == tenant { keys[key] = nil }
    }

    /// A namespace is one tenant's domain, by whichever path each names it.
    func claim(_ namespace: NetworkNamespace, for tenant: String) throws(TenantFault) {
        if let owner = namespaces[namespace], owner != tenant {
            throw TenantFault(
                .duplicatePlace,
                "the namespace \(namespace) is the domain of \(owner) already; give \(tenant) one "
                    + "of its own")
        }
        namespaces[namespace] = tenant
    }

    func releaseNamespace(of tenant: String) {
        for (namespace, owner) in namespaces where owner == tenant { namespaces[namespace] = nil }
    }

    /// Ends what no tenant that is served goes on with.
    private func removeStrangers() async {
        let wanted = Set(served.values.map(\.interface))
        for (interface, control) in inherited where !wanted.contains(interface) {
            inherited[interface] = nil
            await control.remove()
        }
    }

    /// The tunnel of an earlier process that is to serve a tenant, if it is where the tenant is.
    func takeInherited(_ domain: TenantDomain) async -> TunnelControl? {
        guard let control = inherited.removeValue(forKey: domain.interface) else { return nil }
        let old = past?[domain.tenant]
        if old?.interface == domain.interface, old?.place == domain.place.description {
            return control
        }
        await control.remove()
        return nil
    }

    /// Refuses a tenant for which there are too few descriptors, before others run out of them.
    func reserveDescriptors(_ count: Int, for tenant: String) throws(TenantFault) {
        let left = ProcessSetup.descriptorsLeft - reservedDescriptors
            - GatewayLimits.descriptorReserve
        guard left >= count else {
            throw TenantFault(
                .descriptorsExhausted,
                "\(tenant) needs \(count) file descriptors, and \(max(left, 0)) are left; raise "
                    + "the limit (LimitNOFILE= of the service, or ulimit -n)")
        }
        reservedDescriptors += count
    }

    func releaseDescriptors(_ count: Int) { reservedDescriptors -= count }

    // MARK: - Telling

    /// Takes up what a tenant tells of itself; the file follows soon.
    func note(_ tenant: GatewayStatus.Tenant) {
        guard runs[tenant.tenant] != nil || tenants[tenant.tenant] != nil else { return }
        let old = tenants.updateValue(tenant, forKey: tenant.tenant)
        // What was made must be known after a crash.
        if tenant.ownNamespace != old?.ownNamespace { return save() }
        guard !isStatusDue else { return }
        isStatusDue = true
        Task {
            try? await Task.sleep(for: .milliseconds(GatewayLimits.statusMilliseconds))
            save()
        }
    }

    private func save() {
        isStatusDue = false
        guard !isLeft else { return }
        status.updatedAt = Self.now
        status.tenants = tenants.values.sorted { $0.tenant < $1.tenant }
        do {
            try folder.save(status)
        } catch {
            log.error("the status cannot be saved: \(error)")
        }
    }
}
