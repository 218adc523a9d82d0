import ArgumentParser
import Foundation
import Gateway
import NodeAgent
import WireGuardConfiguration

struct GatewayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gateway",
        abstract: "Run a gateway: many tenants on one machine, over one UDP port.",
        discussion: """
            Each tenant has keys, peers, addresses and routes of its own, in a network namespace, \
            routing table or VRF of its own; two may use the same addresses. What is set up is \
            kept in /var/lib/branchline/gateway ($BRANCHLINE_STATE/gateway). For example:

              sudo branchline gateway add acme --configuration /etc/branchline/acme.conf
              sudo branchline gateway start
              sudo branchline gateway show
            """,
        subcommands: [
            GatewayStart.self, GatewayStop.self, GatewayReload.self, GatewayShow.self,
            GatewayAdd.self, GatewaySet.self, GatewayRemove.self,
        ])
}

struct GatewayStart: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start", abstract: "Start the gateway and its tenants.",
        discussion: """
            The options are kept for later starts. For example:

              sudo branchline gateway start --listen-port 51820
            """)

    @Option(help: "UDP port of all tenants. (default: 51820, or as before)")
    var listenPort: UInt16?

    @Option(help: "Firewall mark of what is sent; 0 for none. (default: 0, or as before)")
    var firewallMark: UInt32?

    @Option(help: "Data-plane threads. (default: one per processor, or as before)")
    var workers: Int?

    @Option(
        help: ArgumentHelp(
            "The program that serves the tenants: by default $BRANCHLINED, then branchlined "
                + "beside this program, then in PATH.", valueName: "path"))
    var daemon: String?

    func validate() throws {
        if listenPort == 0 { throw ValidationError("--listen-port takes 1 to 65535") }
        if let workers, workers < 1 { throw ValidationError("--workers is at least 1") }
    }

    func run() throws {
        try requireRoot(to: "start the gateway")
        let daemon = try Daemon(choice: daemon), gateway = LocalGateway()
        Interruption.arm()
        try gateway.start(daemon) { settings in
            settings.listenPort = listenPort ?? settings.listenPort
            settings.firewallMark = firewallMark ?? settings.firewallMark
            settings.workers = workers ?? settings.workers
        }
        try gateway.requireSocket()
        try? Console.output(
            "the gateway runs on UDP port \(gateway.status?.settings.listenPort ?? 0) with "
                + "\(Self.words(for: gateway.status?.tenants ?? []))")
    }

    static func words(for tenants: [GatewayStatus.Tenant]) -> String {
        if tenants.isEmpty { return "no tenants; add one with `sudo branchline gateway add`" }
        let counts = [GatewayStatus.State.up, .waiting, .faulty].compactMap { state in
            let count = tenants.count { $0.state == state }
            return count == 0 ? nil : "\(count) \(state.rawValue)"
        }
        return (tenants.count == 1 ? "1 tenant: " : "\(tenants.count) tenants: ")
            + counts.joined(separator: ", ")
            + (tenants.contains { $0.state == .faulty }
                ? "; see `branchline gateway show`" : "")
    }
}

struct GatewayStop: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "End the gateway, and with it all tenants' interfaces.",
        discussion: """
            For example:

              sudo branchline gateway stop
            """)

    func run() throws {
        try requireRoot(to: "stop the gateway")
        try LocalGateway().stop()
        try? Console.output("the gateway has ended")
    }
}

struct GatewayReload: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload",
        abstract: "Take up what has changed in the gateway's folder and configuration files.",
        discussion: """
            Tenants whose files are as they were go on undisturbed. What is wrong with a file or \
            a tenant is told, with exit code 1. For example:

              sudo branchline gateway reload
            """)

    func run() throws {
        try requireRoot(to: "reload the gateway")
        let gateway = LocalGateway()
        try gateway.reload()
        try gateway.awaitSettled(gateway.folder.tenants)
        let tenants = gateway.status?.tenants ?? []
        try? Console.output("the gateway has \(GatewayStart.words(for: tenants))")
        var faults: [String] = []
        do throws(TenantFault) {
            _ = try gateway.folder.settings()
        } catch {
            faults.append("\(error)")
        }
        if let fault = gateway.status?.socketFault { faults.append(fault) }
        faults += tenants.compactMap { tenant in
            tenant.fault.map { "\(tenant.tenant): \($0.kind.rawValue): \($0.detail)" }
        }
        guard faults.isEmpty else {
            throw Failure.failed("not all is as it has to be:\n" + faults.joined(separator: "\n"))
        }
    }
}

struct GatewayAdd: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Add a tenant to the gateway.",
        discussion: """
            Keys and peers come from a configuration file as for wg-quick, or later by wg(8) on \
            the interface. A gateway that runs takes the tenant up at once. For example:

              sudo branchline gateway add acme --configuration /etc/branchline/acme.conf
              sudo branchline gateway add beta --table 100 --address 10.0.0.1/24 --maximum-rate 1G

            `branchline join TOKEN --namespace NAME` adds a tenant of a coordinator; --membership \
            puts one back that was removed.
            """)

    @Argument(help: "The tenant's name.")
    var tenant: String

    @Option(
        help: ArgumentHelp(
            "The interface's name. (default: the tenant's, and a number)", valueName: "name"))
    var interface: String?

    @OptionGroup(title: "Place (default: a namespace of the tenant's name)")
    var place: PlaceOptions

    @Option(
        name: .customLong("address"),
        help: ArgumentHelp(
            "An address of the interface, such as 10.0.0.1/24; may be repeated.",
            valueName: "address"))
    var addresses: [AddressSetting] = []

    @Option(
        help: ArgumentHelp("A configuration file as for wg-quick.", valueName: "file"),
        completion: .file(extensions: ["conf"]))
    var configuration: String?

    @Option(
        help: ArgumentHelp(
            "A membership that was a tenant of the gateway before: its interface or its folder.",
            valueName: "name"))
    var membership: String?

    @Option(
        help: ArgumentHelp(
            "A program that is told when branches come and go.", valueName: "path"),
        completion: .file())
    var routeHook: String?

    @OptionGroup(title: "Limits")
    var limits: LimitOptions

    func run() throws {
        try requireRoot(to: "add a tenant")
        let gateway = LocalGateway()
        if let reason = TenantDomain.nameFault(tenant) { throw Failure.badInput(reason) }
        try gateway.prepare()
        guard !gateway.folder.hasTenant(tenant) else {
            throw Failure.badInput(
                "there is a tenant \(tenant) already; change it with `sudo branchline gateway set "
                    + "\(tenant)`, or see `branchline tenant show \(tenant)`")
        }
        let joined = try membership.map { try TenantMembership.choose($0, for: tenant) }
        let joinedName = joined.map { URL(fileURLWithPath: $0.path).lastPathComponent }
        var domain = TenantDomain(
            tenant: tenant,
            interface: try interface ?? joinedName ?? gateway.freeInterface(for: tenant),
            place: place.place ?? .namespace(tenant), addresses: addresses,
            configuration: configuration.map(absolutePath), membership: joined?.path,
            routeHook: routeHook.map(absolutePath))
        limits.apply(to: &domain.limits)
        Interruption.arm()
        let told = try gateway.apply(domain, over: nil)
        try? Console.output(
            told == nil
                ? "added \(tenant); it is served once the gateway runs: `sudo branchline gateway "
                    + "start`"
                : "\(tenant) is served as \(domain.interface) in \(domain.place); see `branchline "
                    + "tenant show \(tenant)`")
        for note in told?.notes ?? [] { Console.error("note: \(Text.line(note))") }
        guard domain.configuration == nil, domain.membership == nil else { return }
        try? Console.output(
            "it has no key and no peers yet: give it a file with `sudo branchline gateway set "
                + "\(tenant) --configuration FILE`"
                + (told == nil ? "" : ", or set them with wg(8) on \(domain.interface)"))
    }
}

struct GatewaySet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Change a tenant of the gateway.",
        discussion: """
            What is not given stays. Limits, addresses and peers change without an interruption; \
            another interface or place begins anew. For example:

              sudo branchline gateway set acme --maximum-rate 500M --weight 4
              sudo branchline gateway set acme --maximum-rate none
            """)

    @Argument(help: "The tenant's name.")
    var tenant: String

    @Option(help: ArgumentHelp("The interface's name.", valueName: "name"))
    var interface: String?

    @OptionGroup(title: "Place")
    var place: PlaceOptions

    @Option(
        name: .customLong("address"),
        help: ArgumentHelp(
            "An address in place of those it has; may be repeated.", valueName: "address"))
    var addresses: [AddressSetting] = []

    @Option(
        help: ArgumentHelp("A configuration file as for wg-quick.", valueName: "file"),
        completion: .file(extensions: ["conf"]))
    var configuration: String?

    @Option(
        help: ArgumentHelp(
            "A program that is told when branches come and go, or none.", valueName: "path"),
        completion: .file())
    var routeHook: String?

    @OptionGroup(title: "Limits")
    var limits: LimitOptions

    func run() throws {
        try requireRoot(to: "change a tenant")
        let gateway = LocalGateway(), old = try gateway.domain(tenant)
        var domain = old
        if let interface { domain.interface = interface }
        if let chosen = place.place { domain.place = chosen }
        if !addresses.isEmpty { domain.addresses = addresses }
        if let configuration { domain.configuration = absolutePath(configuration) }
        if let routeHook { domain.routeHook = routeHook == "none" ? nil : absolutePath(routeHook) }
        limits.apply(to: &domain.limits)
        guard domain != old else {
            guard isAnythingGiven else {
                throw Failure.badInput("nothing would change; say what, such as --weight 2")
            }
            try? Console.output("\(tenant) is so already")
            return
        }
        Interruption.arm()
        let told = try gateway.apply(domain, over: old)
        try? Console.output(
            "changed \(tenant)" + (told == nil ? "; the gateway does not run" : ""))
        for note in told?.notes ?? [] { Console.error("note: \(Text.line(note))") }
    }

    private var isAnythingGiven: Bool {
        interface != nil || place.place != nil || !addresses.isEmpty || configuration != nil
            || routeHook != nil || !limits.isEmpty
    }
}

struct GatewayRemove: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove",
        abstract: "Remove a tenant from the gateway, with its interface and its own namespace.",
        discussion: """
            Configuration file and membership stay; `branchline leave` ends a membership. For \
            example:

              sudo branchline gateway remove acme --yes
            """)

    @Argument(help: "The tenant's name.")
    var tenant: String

    @OptionGroup var confirmation: ConfirmOptions

    func run() throws {
        try requireRoot(to: "remove a tenant")
        let gateway = LocalGateway()
        guard gateway.folder.hasTenant(tenant) else {
            _ = try gateway.domain(tenant)
            return
        }
        try confirmation.confirm("Remove \(tenant) from the gateway?")
        let membership = (try? gateway.domain(tenant))?.membership
        try gateway.remove(tenant)
        try? Console.output("removed \(tenant)")
        guard let membership, MembershipFolder(path: membership).isJoined else { return }
        let name = URL(fileURLWithPath: membership).lastPathComponent
        try? Console.output(
            "its membership stays: put it back with `sudo branchline gateway add \(tenant) "
                + "--membership \(name)`, or end it with `sudo branchline leave \(name)`")
    }
}

/// A path from the root, as the daemon needs it, whose folder is another.
func absolutePath(_ path: String) -> String {
    if path.hasPrefix("/") { return path }
    return URL(fileURLWithPath: path).standardizedFileURL.path
}
