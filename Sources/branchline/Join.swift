import ArgumentParser
import ControlModel
import CoordinatorClient
import Cryptography
import LinuxNetworking
import NodeAgent
import PacketFormats
import SystemPackage
import WireGuardConfiguration

/// Makes this machine a node of a network. A failure undoes the steps before it:
///
/// 1. read the token and check it against the root that it names;
/// 2. make keys, and ask the coordinator to be let in;
/// 3. keep what came of it on disk;
/// 4. start the daemon, and wait until addresses and peers are in force.
///
/// A gateway that does not answer after that is a warning: the node has joined.
struct Join: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Join a network with a token from its security admin.",
        discussion: """
            The token is one string and a secret: whoever uses it first is the node. The keys are \
            made on this machine and never leave it. For example:

              sudo branchline join bl1~...
              sudo branchline join - < token
              sudo branchline join --token-file token.txt --endpoint hq.example:51820
              sudo branchline join bl1~... --endpoint hq.example:51820 --namespace acme

            What was joined is kept in /var/lib/branchline ($BRANCHLINE_STATE); \
            `branchline up` and `branchline down` start and stop it, `branchline leave` ends it.

            With --namespace, --table or --vrf a gateway joins as one tenant of many on this \
            machine, which share a UDP port: see `branchline gateway --help`.
            """)

    @Argument(
        help: ArgumentHelp(
            "The token, or - to read it from standard input, which other users of this machine do "
                + "not see.", valueName: "token"))
    var token: String?

    @Option(
        help: ArgumentHelp(
            "Read the token from a file, and remove that once it is used.", valueName: "file"),
        completion: .file())
    var tokenFile: String?

    @Option(
        help: ArgumentHelp("The interface's name. (default: bl0, or the next that is free)",
            valueName: "name"))
    var interface: String?

    @Option(
        help: ArgumentHelp(
            "Where others reach this gateway; for gateways only, which need it.",
            valueName: "host:port"))
    var endpoint: String?

    @Option(
        help: ArgumentHelp(
            "UDP port. (default: for a gateway that of --endpoint, else any)", valueName: "port"))
    var listenPort: UInt16?

    @Option(
        help: ArgumentHelp("What to call this node. (default: the host's name)",
            valueName: "name"))
    var name: String?

    @Option(
        help: ArgumentHelp(
            "How often this node changes its WireGuard key, such as 30d or 12h, or never. "
                + "(default: 30d, for a gateway never: configurations made by hand hold its key)",
            valueName: "time"))
    var rotateEvery: String?

    @OptionGroup(title: "Place, for a tenant of this machine's gateway")
    var place: PlaceOptions

    @Option(
        help: ArgumentHelp(
            "A program to run as `up|down PREFIX INTERFACE TENANT` as branches come to this "
                + "gateway and go, such as Examples/gateway/bgp/route-hook.sh.", valueName: "path"),
        completion: .file())
    var routeHook: String?

    @Option(
        help: ArgumentHelp(
            "The program that serves the interface: by default $BRANCHLINED, then branchlined "
                + "beside this program, then in PATH.", valueName: "path"))
    var daemon: String?

    func validate() throws {
        guard (token == nil) != (tokenFile == nil) else {
            throw ValidationError("give the token, or - for standard input, or --token-file")
        }
        if let rotateEvery, rotateEvery != "never" {
            guard (try? Parse.duration(rotateEvery)) != nil else {
                throw ValidationError("--rotate-every takes a time such as 30d or 12h, or never")
            }
        }
        if let endpoint, HostEndpoint(endpoint) == nil {
            throw ValidationError("--endpoint takes host:port, such as hq.example:51820")
        }
        if let name, !NodeName.isValid(name) {
            throw ValidationError("--name takes 1 to 63 letters, digits, hyphens and points")
        }
    }

    func run() throws {
        try requireRoot(to: "join")
        Interruption.arm()
        let command = self
        try runAsync { try await command.join() }
    }

    private func join() async throws {
        let daemon = try Daemon(choice: daemon)
        let now = Self.now
        let text: JoinText
        do {
            text = try JoinText(parsing: try readToken(), at: now)
        } catch let refusal as Refusal {
            throw Failure.badInput(JoinAdvice.words(for: refusal))
        }
        var choices = try choices(for: text.token.role)
        try requireNotJoined(text.token.tenant.description)
        let token = text.token
        let tenant = try place.place.map { try TenantJoin(token, place: $0) }
        let interface = try chooseInterface(tenant)
        try interface.requireFree()
        if let tenant {
            try tenant.prepare(
                port: listenPort, endpointPort: endpoint.flatMap { HostAndPort($0)?.port }, daemon)
            choices.listenPort = nil
        } else {
            try requireFreePort(choices.listenPort)
        }
        do {
            let joining = try Joining(text, choices, at: now)
            try await join(joining, interface, daemon, tenant)
        } catch let refusal as Refusal {
            throw Failure.failed(JoinAdvice.words(for: refusal))
        } catch let problem as CoordinatorAPI.Problem {
            throw Failure.failed(JoinAdvice.words(for: problem, text.token))
        } catch let fault as ClientFault {
            throw Failure.failed("\(text.token.coordinator): \(fault)")
        } catch let fault as MembershipFault {
            throw Failure.failed("\(fault)")
        }
    }

    private func join(
        _ joining: borrowing Joining, _ interface: JoinedInterface, _ daemon: Daemon,
        _ tenant: TenantJoin?
    ) async throws {
        let outcome = try await joining.enrol(at: Self.now)
        let status: AgentStatus
        do {
            try interface.folder.create(outcome.membership)
            if outcome.standing == .active { await joining.waitForGateways() }
            try Interruption.check()
            if let tenant {
                try tenant.start(interface)
            } else {
                try interface.start(daemon)
            }
            status = try interface.awaitForce()
            if let tokenFile { try? PrivateFolder.wipe(tokenFile) }
            try? Console.output(
                Self.words(for: status, interface.name, joining.grant))
        } catch {
            Console.error("undoing what was set up for \(interface.name)")
            if let tenant { tenant.undo() } else { _ = try? interface.stop() }
            // Apart from this task, which Ctrl-C has cancelled.
            let client = joining.client
            _ = try? await Task {
                try await client.call(.delete, "/v1/self", timeoutSeconds: 3)
            }.value
            try? interface.folder.remove()
            throw error
        }
        guard status.isInForce, joining.grant.role != .gateway, !status.gateways.isEmpty,
            !interface.awaitHandshake(), !Task.isCancelled
        else { return }
        Console.error(Self.warning(of: status, interface.name))
    }

    private static func warning(of status: AgentStatus, _ interface: String) -> String {
        let gateways = Text.line(status.gateways.joined(separator: ", "))
        return """
            warning: \(interface) has joined, but no gateway (\(gateways)) has answered yet, so \
            nothing passes; it goes on trying. Check that the gateway's endpoint is reached over \
            UDP from here (`branchline status \(interface)` shows it), and whether the gateway \
            refuses this node: `branchline status` there says so.
            """
    }

    private static func words(
        for status: AgentStatus, _ interface: String, _ grant: Grant
    ) -> String {
        let addresses = grant.addresses.sorted().map(\.description).joined(separator: ", ")
        let see = "see `branchline status \(interface)`"
        switch Standing(rawValue: status.state) {
        case .active:
            let gateways = status.gateways.isEmpty
                ? "none yet" : status.gateways.joined(separator: ", ")
            return """
                \(interface) has joined \(status.tenant) as \(status.name)
                  role       \(grant.role.rawValue)
                  addresses  \(addresses)
                  \(grant.role == .gateway
                    ? "peers      \(status.acceptedPeers)" : "gateway    \(gateways)")
                \(see)
                """
        case .pending:
            return """
                \(interface) waits for an admin of \(status.tenant) to approve \(status.name):
                  branchline node approve \(status.node) --tenant \(status.tenant)
                The daemon runs, and goes on by itself once that is done; \(see)
                """
        default:
            return "\(interface) has joined \(status.tenant), but is \(status.state): "
                + "\(status.stateDetail ?? "no reason is known"); \(see)"
        }
    }

    private static var now: Int64 { Int64(clamping: Clock.wallClock().seconds) }
}

// MARK: - Input

extension Join {
    private func readToken() throws -> String {
        var bytes: [UInt8]
        if let tokenFile {
            do {
                let file = try FileDescriptor.open(FilePath(tokenFile), .readOnly)
                bytes = try file.closeAfter {
                    try file.readToEnd(byteCountMax: TrustLimits.joinTextBytesMax)
                }
            } catch {
                throw Failure.badInput("cannot read the token from \(tokenFile): \(error)")
            }
        } else if token == "-" {
            bytes = try Console.input(bytesMax: TrustLimits.joinTextBytesMax)
        } else {
            bytes = Array((token ?? "").utf8)
        }
        defer { bytes.wipe() }
        let space: Set<UInt8> = [0x20, 0x09, 0x0a, 0x0d]
        let text = String(decoding: bytes.filter { !space.contains($0) }, as: UTF8.self)
        guard !text.isEmpty else {
            let source = tokenFile ?? (token == "-" ? "standard input" : "the token")
            throw Failure.badInput(
                "\(source) is empty; give all of what `branchline token create` printed")
        }
        return text
    }

    private func choices(for role: Role) throws -> Joining.Choices {
        if role == .gateway, endpoint == nil {
            throw Failure.badInput(
                "the token is for a gateway, which others must reach; say where, such as "
                    + "--endpoint hq.example:51820")
        }
        if role != .gateway, endpoint != nil {
            throw Failure.badInput(
                "the token is for a \(role.rawValue), and only gateways have an --endpoint; leave "
                    + "it out, or ask for a token with --role gateway")
        }
        let port = endpoint.flatMap { HostAndPort($0)?.port }
        let seconds: Int64?
        switch rotateEvery {
        case "never": seconds = nil
        case nil: seconds = role == .gateway ? nil : Self.rotateEverySecondsDefault
        case let text?: seconds = try Parse.duration(text)
        }
        return Joining.Choices(
            name: name ?? NodeName.ofHost, endpoint: endpoint, listenPort: listenPort ?? port,
            rotateEverySeconds: seconds, routeHook: try checkedRouteHook(role))
    }

    private func checkedRouteHook(_ role: Role) throws -> String? {
        guard let routeHook else { return nil }
        guard role == .gateway else {
            throw Failure.badInput(
                "the token is for a \(role.rawValue), and only gateways have a --route-hook")
        }
        guard routeHook.hasPrefix("/"), Program.isExecutable(routeHook) else {
            throw Failure.badInput(
                "--route-hook takes the whole path of a program, and \(routeHook) is none: check "
                    + "the path, and whether it may be executed")
        }
        return routeHook
    }

    private func requireFreePort(_ port: UInt16?) throws {
        guard let port, port != 0 else { return }
        do {
            try UDPSocketGroup.bind(port: port, workerCount: 1).close()
        } catch {
            guard error == .portInUse(port) else { return }
            let own = InterfaceSocket.live().first {
                interfaceIndex($0.name) != nil && (try? $0.deviceStatus())?.listenPort == port
            }
            throw Failure.failed(
                own.map {
                    "UDP port \(port) is that of \($0.name); choose another with --listen-port"
                } ?? "\(error)")
        }
    }

    private func chooseInterface(_ tenant: TenantJoin?) throws -> JoinedInterface {
        if let interface { return try JoinedInterface(name: interface) }
        guard let tenant else { return try .free() }
        return try JoinedInterface(name: tenant.gateway.freeInterface(for: tenant.tenant))
    }

    /// Two interfaces in one network would have the same routes; whoever names one may know why.
    private func requireNotJoined(_ tenant: String) throws {
        guard interface == nil else { return }
        let joined = JoinedInterface.all.first { (try? $0.folder.terms())?.tenant == tenant }
        guard let joined else { return }
        throw Failure.failed(
            "already joined \(tenant) as \(joined.name); `sudo branchline leave \(joined.name)` "
                + "first, or name another --interface to join twice")
    }

    private static let rotateEverySecondsDefault: Int64 = 30 * 86_400
}
