import Gateway
import Glibc
import LinuxNetworking

/// The gateway of this machine: its folder, and the daemon that serves that.
struct LocalGateway {
    let folder: GatewayFolder

    init() {
        folder = .standard(stateFolder: environment("BRANCHLINE_STATE"))
    }

    var isServed: Bool { folder.isServed }

    /// What the daemon tells; `nil` where none serves the folder.
    var status: GatewayStatus? { isServed ? folder.status() : nil }

    func requireServed() throws {
        guard isServed else {
            throw Failure.failed(
                "no gateway runs here; start it with `sudo branchline gateway start`")
        }
    }

    /// Makes the folder where it is missing.
    func prepare() throws {
        do {
            try folder.create()
        } catch {
            throw Failure.failed("\(error)")
        }
    }

    /// - Throws: If there is no tenant of that name.
    func domain(_ tenant: String) throws -> TenantDomain {
        guard folder.hasTenant(tenant) else {
            let known = folder.tenants
            throw Failure.badInput(
                "the gateway has no tenant \(Text.plain(tenant)); "
                    + (known.isEmpty
                        ? "add one with `sudo branchline gateway add`"
                        : "it has \(known.joined(separator: ", "))"))
        }
        do throws(TenantFault) {
            return try folder.entry(of: tenant).outcome.get()
        } catch {
            throw Failure.failed("\(error)")
        }
    }

    // MARK: - The daemon

    /// Starts the daemon, and returns when it has looked at every tenant.
    ///
    /// - Parameter change: What is kept in the settings, if the daemon starts with it.
    func start(_ daemon: Daemon, changing change: (inout GatewaySettings) -> Void = { _ in }) throws
    {
        try prepare()
        // One that was killed may just be going.
        guard try waitUntil(checksMax: 20, { !isServed }) else {
            throw Failure.failed("the gateway runs already; see `branchline gateway show`")
        }
        let old: GatewaySettings
        do throws(TenantFault) {
            old = try folder.settings()
        } catch {
            throw Failure.badInput("\(error)")
        }
        var settings = old
        change(&settings)
        guard settings != old else { return try launch(daemon) }
        do {
            try folder.save(settings)
        } catch {
            throw Failure.badInput("\(error)")
        }
        do {
            try launch(daemon)
        } catch {
            if !isServed {
                if old == GatewaySettings() {
                    try? folder.removeSettings()
                } else {
                    try? folder.save(old)
                }
            }
            throw error
        }
    }

    private func launch(_ daemon: Daemon) throws {
        let code = try Program.run(daemon.path, ["--gateway", folder.path])
        guard code == 0 else {
            throw Failure.failed(
                "\(daemon.path) did not start (exit code \(code)); its own message says why")
        }
        guard try waitUntil({ status?.readings ?? 0 > 0 }) else {
            throw Failure.failed("\(daemon.path) started, but tells nothing in \(folder.path)")
        }
        try awaitSettled(folder.tenants)
    }

    /// - Throws: If the gateway runs without its UDP port, and so reaches nobody.
    func requireSocket() throws {
        guard let fault = status?.socketFault else { return }
        throw Failure.failed(
            "the gateway runs, but nothing reaches it: \(fault); it tries again and again, and "
                + "`sudo branchline gateway stop` ends it")
    }

    /// Ends the daemon; interfaces end with it.
    func stop() throws {
        try requireServed()
        guard let status, kill(status.processIdentifier, SIGTERM) == 0 else {
            throw Failure.failed("the gateway's process cannot be told to end; run with sudo")
        }
        guard try waitUntil(checksMax: 300, { !isServed }) else {
            throw Failure.failed("process \(status.processIdentifier) does not end")
        }
    }

    /// Has the daemon read its folder again, and returns when it has.
    func reload() throws {
        try requireServed()
        guard let before = status, kill(before.processIdentifier, SIGHUP) == 0 else {
            throw Failure.failed("the gateway's process cannot be told to reload; run with sudo")
        }
        let isRead = { status.map { $0.readings > before.readings } ?? true }
        guard try waitUntil(checksMax: 400, isRead) else {
            throw Failure.failed("the gateway is still busy with what its folder says")
        }
        try requireServed()
    }

    /// Waits until a tenant is served as its file says, or it is clear that it will not be soon.
    ///
    /// - Returns: `nil` where the daemon has not said.
    func awaitTenant(_ tenant: String, definition: String) throws -> GatewayStatus.Tenant? {
        var newest: GatewayStatus.Tenant?
        _ = try waitUntil(checksMax: 200) {
            newest = status?[tenant]
            guard let newest, newest.definition == definition else { return false }
            return Self.isSettled(newest)
        }
        return newest
    }

    func awaitSettled(_ tenants: [String]) throws {
        _ = try waitUntil(checksMax: 200) {
            guard let status else { return true }
            return tenants.allSatisfy { status[$0].map(Self.isSettled) ?? false }
        }
    }

    /// One that waits has nothing to say while it is set up.
    private static func isSettled(_ tenant: GatewayStatus.Tenant) -> Bool {
        tenant.isChanging != true && (tenant.state != .waiting || !tenant.notes.isEmpty)
    }

    // MARK: - Changes

    /// Writes a definition, has the gateway take it up, and undoes it where that fails.
    ///
    /// - Parameter old: What was there before; `nil` for a new tenant.
    /// - Returns: How it is served; `nil` where no gateway runs.
    func apply(_ domain: TenantDomain, over old: TenantDomain?) throws -> GatewayStatus.Tenant? {
        try check(domain)
        let definition = try save(domain)
        guard isServed else { return nil }
        do {
            try reload()
            let told = try awaitTenant(domain.tenant, definition: definition)
            if let fault = told?.fault {
                throw Failure.failed("\(domain.tenant) cannot be served: \(fault.detail)")
            }
            guard let told else {
                throw Failure.failed("the gateway tells nothing of \(domain.tenant)")
            }
            return told
        } catch {
            Console.error("undoing what was changed of \(domain.tenant)")
            if let old { _ = try? save(old) } else { try? folder.removeTenant(domain.tenant) }
            try? reload()
            throw error
        }
    }

    private func save(_ domain: TenantDomain) throws -> String {
        do {
            return try folder.save(domain)
        } catch {
            throw Failure.failed("\(error)")
        }
    }

    /// Refuses what is wrong by itself, or takes what is another tenant's.
    private func check(_ domain: TenantDomain) throws {
        if let fault = domain.fault() { throw Failure.badInput(fault.detail) }
        let others = folder.read().filter { $0.tenant != domain.tenant }
        let served = Dictionary(
            others.compactMap { entry in (try? entry.outcome.get()).map { (entry.tenant, $0) } },
            uniquingKeysWith: { first, _ in first })
        let own = GatewayFolder.Entry(
            tenant: domain.tenant, outcome: .success(domain), definition: "")
        let outcomes = GatewayReview.review(others + [own], served: served)
        if case .failure(let fault) = outcomes[domain.tenant] {
            throw Failure.badInput(fault.detail)
        }
    }

    func remove(_ tenant: String) throws {
        do {
            try folder.removeTenant(tenant)
        } catch {
            throw Failure.failed("\(error)")
        }
        guard isServed else { return }
        try reload()
    }

    /// The tenant that a membership or an interface is of.
    func tenant(where isMeant: (TenantDomain) -> Bool) -> TenantDomain? {
        guard folder.exists else { return nil }
        return folder.read().lazy.compactMap { try? $0.outcome.get() }.first(where: isMeant)
    }

    /// An interface's name that no tenant and no socket has.
    func freeInterface(for tenant: String) throws -> String {
        let taken = Set(folder.read().compactMap { try? $0.outcome.get().interface })
        for number in 0..<100 {
            let digits = String(number)
            let name = tenant.prefix(15 - digits.count) + digits
            if taken.contains(String(name)) { continue }
            guard let socket = try? InterfaceSocket(name: String(name)), !socket.isLive else {
                continue
            }
            return String(name)
        }
        throw Failure.failed("choose a name for the interface with --interface")
    }
}
