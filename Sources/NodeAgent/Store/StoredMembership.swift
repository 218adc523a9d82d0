public import ControlModel
public import Cryptography

/// All that a node needs to be in its network again after a restart.
public struct StoredMembership: ~Copyable, Sendable {
    /// What was settled when the node joined.
    public struct Terms: Codable, Hashable, Sendable {
        public var version = 1
        public var tenant: String
        /// What the node calls itself.
        public var name: String
        public var coordinator: String
        /// ``ServerPin/base64URL``; `nil` where public certificate authorities vouch for it.
        public var serverPin: String?
        public var node: String
        /// Where a gateway is reached, `host:port`.
        public var endpoint: String?
        /// UDP port; `nil` lets the system choose.
        public var listenPort: UInt16?
        /// `nil` never rotates.
        public var rotateEverySeconds: Int64?
        /// A program that is told as peers come and go: see ``RouteHook``.
        public var routeHook: String?
        public var joinedAt: Int64

        public init(
            tenant: String, name: String, coordinator: String, serverPin: String?, node: String,
            endpoint: String?, listenPort: UInt16?, rotateEverySeconds: Int64?,
            routeHook: String? = nil, joinedAt: Int64
        ) {
            self.tenant = tenant
            self.name = name
            self.coordinator = coordinator
            self.serverPin = serverPin
            self.node = node
            self.endpoint = endpoint
            self.listenPort = listenPort
            self.rotateEverySeconds = rotateEverySeconds
            self.routeHook = routeHook
            self.joinedAt = joinedAt
        }
    }

    /// What the node believes by: changes seldom, and is written before it counts for others.
    public struct Trust: Codable, Hashable, Sendable {
        public struct Anchor: Codable, Hashable, Sendable {
            public var key: String
            public var successor: String?
            public var retiresAt: Int64?
        }

        public var version = 1
        /// Oldest first.
        public var anchors: [Anchor]
        /// Signed lists.
        public var revocations: [String]
        public var ownChain: String
        /// Since when the WireGuard key is in use.
        public var keySince: Int64

        /// - Parameter keySince: In Unix seconds.
        public init(_ verifier: Verifier, ownChain: String, keySince: Int64) {
            anchors = verifier.anchors.anchors.map {
                Anchor(
                    key: $0.key.base64URL, successor: $0.successor?.base64URL,
                    retiresAt: $0.retiresAt)
            }
            revocations = verifier.revocations.texts
            self.ownChain = ownChain
            self.keySince = keySince
        }

        /// - Returns: `nil` for what no verifier wrote.
        public var verifier: Verifier? {
            var anchors: [RootAnchors.Anchor] = []
            for anchor in self.anchors {
                guard let key = VerifyingKey(base64URL: anchor.key) else { return nil }
                let successor = anchor.successor.flatMap { VerifyingKey(base64URL: $0) }
                guard (successor == nil) == (anchor.successor == nil) else { return nil }
                anchors.append(
                    RootAnchors.Anchor(
                        key: key, successor: successor, retiresAt: anchor.retiresAt))
            }
            guard let anchors = RootAnchors(restoring: anchors) else { return nil }
            var lists = Revocations()
            for text in self.revocations {
                do {
                    try lists.restore(text)
                } catch {
                    return nil
                }
            }
            return Verifier(anchors: anchors, revocations: lists)
        }
    }

    /// What the coordinator told, as far as it was believed; all of it is verified again.
    public struct Network: Codable, Hashable, Sendable {
        public var version = 1
        public var number: Int64
        public var peers: [CoordinatorAPI.Peer]
        public var policy: AccessPolicy?
        public var qos: QoSPolicy?
        /// What the coordinator called the node last.
        public var name: String?

        public init(
            number: Int64 = 0, peers: [CoordinatorAPI.Peer] = [], policy: AccessPolicy? = nil,
            qos: QoSPolicy? = nil, name: String? = nil
        ) {
            self.number = number
            self.peers = peers
            self.policy = policy
            self.qos = qos
            self.name = name
        }

        public init(_ view: NetworkView) {
            self.init(
                number: view.number, peers: view.toldPeers, policy: view.policy, qos: view.qos,
                name: view.name)
        }
    }

    /// Where peers were last. Hints, which nothing is believed by.
    public struct Endpoints: Codable, Hashable, Sendable {
        public var version = 1
        /// By node; each an address and a port.
        public var endpoints: [String: String] = [:]

        public init() {}
    }

    public var terms: Terms
    public var trust: Trust
    public var network: Network
    public let nodeKey: SigningKey
    /// The WireGuard key in use.
    public var wireGuardKey: PrivateKey
    /// The key that a rotation, which is not over, leads to.
    public var nextKey: PrivateKey?
    /// The bearer token that the coordinator knows the node by.
    public let credential: String

    public init(
        terms: Terms, trust: Trust, network: Network, nodeKey: consuming SigningKey,
        wireGuardKey: PrivateKey, nextKey: PrivateKey? = nil, credential: String
    ) {
        self.terms = terms
        self.trust = trust
        self.network = network
        self.nodeKey = nodeKey
        self.wireGuardKey = wireGuardKey
        self.nextKey = nextKey
        self.credential = credential
    }
}
