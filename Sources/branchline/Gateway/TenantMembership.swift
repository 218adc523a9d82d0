import ControlModel
import Gateway
import NodeAgent

/// A membership that this machine's gateway serves as one of its tenants.
struct TenantMembership {
    let gateway: LocalGateway
    let domain: TenantDomain

    /// - Returns: `nil` for a membership that has a daemon of its own.
    static func find(_ folder: MembershipFolder) -> TenantMembership? {
        let gateway = LocalGateway()
        return gateway.tenant { $0.membership == folder.path }.map {
            TenantMembership(gateway: gateway, domain: $0)
        }
    }

    /// Why `up` and `down` leave it alone.
    var refusal: Failure {
        let tenant = domain.tenant
        return gateway.isServed
            ? Failure.failed(
                "\(domain.interface) is the tenant \(tenant) of the gateway, which runs; take it "
                    + "out with `sudo branchline gateway remove \(tenant)`, or end the gateway "
                    + "with `sudo branchline gateway stop`")
            : Failure.failed(
                "\(domain.interface) is the tenant \(tenant) of the gateway; start that with "
                    + "`sudo branchline gateway start`")
    }

    /// Why a membership that was a tenant does not start by itself; `nil` for any other.
    static func refusalOfFormer(_ interface: JoinedInterface) -> Failure? {
        guard let terms = try? interface.folder.terms(), isFormer(terms) else { return nil }
        let name = interface.name
        return Failure.failed(
            "\(name) has joined \(Text.plain(terms.tenant)) as a tenant of this machine's gateway, "
                + "which does not have it any more; put it back with `sudo branchline gateway add "
                + "\(Text.plain(terms.tenant)) --membership \(name)`, or end the membership with "
                + "`sudo branchline leave \(name)`")
    }

    /// Tenants share a port; a gateway by itself has one of its own.
    static func isFormer(_ terms: StoredMembership.Terms) -> Bool {
        terms.endpoint != nil && terms.listenPort == nil
    }

    /// The membership that `gateway add --membership` names.
    ///
    /// - Parameter argument: An interface's name or a folder's path.
    static func choose(_ argument: String, for tenant: String) throws -> MembershipFolder {
        let joined = JoinedInterface.find(argument)
        let folder = MembershipFolder(
            path: absolutePath(joined?.folder.path ?? argument))
        let terms: StoredMembership.Terms
        do {
            terms = try folder.terms()
        } catch {
            throw Failure.badInput(
                "\(Text.plain(argument)) is no membership: \(error); name an interface that has "
                    + "joined, or its folder")
        }
        guard terms.tenant == tenant else {
            throw Failure.badInput(
                "\(Text.plain(argument)) has joined \(Text.plain(terms.tenant)), not \(tenant)")
        }
        guard isFormer(terms) else {
            throw Failure.badInput(
                "\(Text.plain(argument)) has not joined as a gateway's tenant; leave, and join "
                    + "with --namespace, --table or --vrf")
        }
        return folder
    }

    /// Ends the agent: the membership's folder is nobody's then.
    func remove() throws {
        try gateway.remove(domain.tenant)
        _ = try? MembershipFolder(path: domain.membership ?? "").lock()
    }
}

/// What `branchline join` has to know to join as a tenant of this machine's gateway.
struct TenantJoin {
    let gateway = LocalGateway()
    let tenant: String
    let place: TenantDomain.Place

    /// Refuses before anything is asked of the coordinator.
    init(_ token: EnrolmentToken, place: TenantDomain.Place) throws {
        tenant = token.tenant.description
        self.place = place
        guard token.role == .gateway else {
            throw Failure.badInput(
                "the token is for a \(token.role.rawValue), and only gateways have tenants; leave "
                    + "--namespace, --table and --vrf out")
        }
        if let reason = TenantDomain.nameFault(tenant) { throw Failure.badInput(reason) }
        guard !gateway.folder.hasTenant(tenant) else {
            throw Failure.failed(
                "the gateway has a tenant \(tenant) already; `sudo branchline gateway remove "
                    + "\(tenant)` first")
        }
    }

    /// Settles the port that all tenants share, and starts the gateway where it does not run.
    ///
    /// - Parameters:
    ///   - port: As asked for; `nil` for any.
    ///   - endpointPort: The port at which others reach this gateway.
    func prepare(port: UInt16?, endpointPort: UInt16?, _ daemon: Daemon) throws {
        try gateway.prepare()
        var settings: GatewaySettings
        do throws(TenantFault) {
            settings = try gateway.folder.settings()
        } catch {
            throw Failure.badInput("\(error)")
        }
        // A gateway that runs has what it began with.
        if let status = gateway.status { settings = status.settings }
        let isNew = !gateway.isServed && gateway.folder.tenants.isEmpty
        if isNew {
            settings.listenPort = port ?? endpointPort ?? settings.listenPort
        } else if let port, port != settings.listenPort {
            throw Failure.badInput(
                "all tenants of the gateway share UDP port \(settings.listenPort); leave "
                    + "--listen-port out")
        }
        let shared = settings.listenPort
        if !gateway.isServed { try gateway.start(daemon) { $0.listenPort = shared } }
        try gateway.requireSocket()
        if port == nil, let endpointPort, endpointPort != shared {
            Console.error(
                "warning: all tenants of the gateway share UDP port \(shared), and --endpoint "
                    + "tells others port \(endpointPort); they reach it only where something "
                    + "forwards that to \(shared)")
        }
    }

    /// Has the gateway serve the membership.
    func start(_ interface: JoinedInterface) throws {
        let domain = TenantDomain(
            tenant: tenant, interface: interface.name, place: place,
            membership: absolutePath(interface.folder.path))
        _ = try gateway.apply(domain, over: nil)
    }

    func undo() { try? gateway.remove(tenant) }
}
