public import ControlModel
public import CoordinatorClient
import Cryptography
import PacketFormats
import WireGuardConfiguration

/// A node on its way into a network: its keys are made here, and leave only for its own disk.
///
/// 1. make a node key, a WireGuard key and a secret;
/// 2. sign the node's own grant with the token's key, and verify what others will verify;
/// 3. hand it to the coordinator;
/// 4. verify the answer.
public struct Joining: ~Copyable, Sendable {
    /// What the operator decides.
    public struct Choices: Sendable {
        /// 1 to 63 letters, digits, hyphens and points.
        public var name: String
        /// Where a gateway is reached, `host:port`.
        public var endpoint: String?
        public var listenPort: UInt16?
        public var rotateEverySeconds: Int64?
        /// The path of a program that is told as peers come and go.
        public var routeHook: String?

        public init(
            name: String, endpoint: String?, listenPort: UInt16?, rotateEverySeconds: Int64?,
            routeHook: String? = nil
        ) {
            self.name = name
            self.endpoint = endpoint
            self.listenPort = listenPort
            self.rotateEverySeconds = rotateEverySeconds
            self.routeHook = routeHook
        }
    }

    /// What came of it.
    public struct Outcome: ~Copyable, Sendable {
        public let membership: StoredMembership
        /// `pending` where an admin has to approve.
        public let standing: Standing
    }

    public let grant: Grant
    public let client: CoordinatorClient
    private let choices: Choices
    private let token: EnrolmentToken
    private let root: VerifyingKey
    private let chain: StatementChain
    private let nodeKey: SigningKey
    private let wireGuardKey: PrivateKey
    private let secret: String

    /// - Parameter now: In Unix seconds.
    /// - Throws: A `Refusal` for what the token does not allow, or a `ClientFault` for a
    ///   coordinator's address that is none.
    public init(_ join: borrowing JoinText, _ choices: Choices, at now: Int64) throws {
        let key = SigningKey.generate(), tunnelKey = PrivateKey.generate()
        let secret = "bln_" + Secret32.random().withBytes { Base64URL.encode($0) }
        let grant = try Self.grant(
            under: join.token, node: key.verifyingKey, publicKey: tunnelKey.publicKey, at: now)
        let chain = try join.join(with: grant, at: now)
        let client = try CoordinatorClient(
            coordinator: join.token.coordinator, pin: join.token.serverPin, credential: secret)
        token = join.token
        root = join.root
        self.choices = choices
        self.grant = grant
        self.chain = chain
        self.client = client
        self.secret = secret
        nodeKey = key
        wireGuardKey = tunnelKey
    }

    private static func grant(
        under token: EnrolmentToken, node: VerifyingKey, publicKey: PublicKey, at now: Int64
    ) throws -> Grant {
        guard let profile = Self.preferred.first(where: token.profiles.contains) else {
            throw Refusal(
                .profileOutOfScope,
                "the token is for no profile that this machine has the means for")
        }
        // The coordinator's clock may be ahead of this one.
        let from = max(now, token.validity.from)
        guard let validity = Validity(from: from, until: from + token.grantSeconds) else {
            throw Refusal(.invalidField, "grantSeconds")
        }
        return Grant(
            node: node, serial: from, publicKey: publicKey, tenant: token.tenant,
            role: token.role, addresses: token.addresses, routes: token.routes,
            groups: token.groups, profile: profile, ceiling: token.ceiling, token: token.id,
            validity: validity)
    }

    /// Asks the coordinator.
    ///
    /// - Throws: `CoordinatorAPI.Problem`, `ClientFault`, or a `Refusal` of the answer.
    public func enrol(at now: Int64) async throws -> Outcome {
        let answer = try await ask()
        let verifier = Verifier(anchors: RootAnchors(root: root))
        var view = NetworkView(
            node: nodeKey.verifyingKey, tenant: token.tenant, ownKeys: [wireGuardKey.publicKey],
            verifier: verifier, ownChain: chain.text, at: now)
        if let network = answer.network {
            view.replace(with: network, number: answer.number, at: now)
        } else {
            view.take(own: answer.chain, at: now)
        }
        guard view.standing == .active || view.standing == .pending else {
            throw view.standingReason ?? Refusal(.approvalRequired)
        }
        let terms = StoredMembership.Terms(
            tenant: token.tenant.text, name: choices.name, coordinator: token.coordinator,
            serverPin: token.serverPin?.base64URL, node: nodeKey.verifyingKey.base64URL,
            endpoint: choices.endpoint, listenPort: choices.listenPort,
            rotateEverySeconds: choices.rotateEverySeconds, routeHook: choices.routeHook,
            joinedAt: now)
        return Outcome(
            membership: StoredMembership(
                terms: terms,
                trust: .init(view.verifier, ownChain: view.ownChain, keySince: now),
                network: .init(view), nodeKey: nodeKey.clone(), wireGuardKey: wireGuardKey,
                credential: secret),
            standing: view.standing)
    }

    private func ask() async throws -> CoordinatorAPI.OwnState {
        let enrolment = CoordinatorAPI.Enrolment(
            chain: chain.text, name: choices.name,
            secretHash: Base64URL.encode(SHA256.hash(secret)),
            endpoint: choices.endpoint, agentVersion: Release.version)
        var isAnswerLost = false
        for attempt in 1... {
            do {
                return try await client.call(.post, "/v1/enrolments", body: enrolment).answer
            } catch let fault as ClientFault where attempt < Self.attemptsMax && fault.mayPass {
                isAnswerLost = true
                try await Task.sleep(for: .milliseconds(300))
            } catch let problem as CoordinatorAPI.Problem
                where isAnswerLost && problem.reason == CoordinatorAPI.Reason.tokenUsed.rawValue
            {
                // Perhaps it was this node that used the token, and only the answer was lost.
                guard let own: CoordinatorAPI.OwnState
                    = try? await client.call(.get, "/v1/self").answer
                else { throw problem }
                return own
            }
        }
        throw ClientFault.timedOut
    }

    /// Returns once the gateways have this node in force, or after a second and a half: a
    /// handshake that comes too early is tried again only after five seconds.
    public func waitForGateways() async {
        for attempt in 0..<Self.waitsMax {
            let state: CoordinatorAPI.OwnState?
            state = try? await client.call(.get, "/v1/self", timeoutSeconds: 1).answer
            guard let state, state.gatewaysBehind > 0 else { return }
            try? await Task.sleep(for: .milliseconds(min(10 << attempt, 100)))
        }
    }

    /// Of several that a token allows, the strongest that this machine has: nobody is asked again.
    private static var preferred: [TunnelProfile] {
        let all: [TunnelProfile] = [.branchlineAES, .branchlineChaCha, .wireguard]
        return all.filter { $0 != .branchlineAES || HandshakeCipher.aesGCM.isAvailable }
    }
    private static var attemptsMax: Int { 3 }
    private static var waitsMax: Int { 16 }
}

extension ClientFault {
    fileprivate var mayPass: Bool {
        switch self {
        case .unreachable, .timedOut: true
        default: false
        }
    }
}
