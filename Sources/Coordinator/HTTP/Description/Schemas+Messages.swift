import ControlModel

extension Schemas {
    static let organisation: [(name: String, schema: JSONValue)] = [
        (
            "OrganisationSetup",
            object([
                ("setup_code", string(min: 1, max: 64)), ("root", reference("Key")),
                ("admin", reference("Statement")), ("token_name", reference("Label")),
            ])
        ),
        (
            "Organisation",
            object(
                [
                    ("root", reference("Key")),
                    ("rollovers", array(reference("Statement"), max: 1024)),
                    ("admins", array(reference("Admin"), max: 65_536)),
                    ("revocations", reference("Chain")), ("created_at", reference("Time")),
                ], optional: ["revocations"])
        ),
        (
            "Admin",
            object(
                [
                    ("key", reference("Key")), ("statement", reference("Statement")),
                    ("tenants", array(reference("Name"), max: Int64(TrustLimits.tenantsMax))),
                    ("roles", array(reference("Role"), max: 3)), ("may_revoke", bool),
                    ("valid_from", reference("Time")), ("valid_until", reference("Time")),
                    ("is_revoked", bool),
                ], optional: ["tenants"])
        ),
        ("SignedStatement", object([("statement", reference("Statement"))])),
        ("SignedChain", object([("chain", reference("Chain"))])),
        (
            "RevocationsRecord",
            object(
                [("chain", reference("Chain")), ("number", integer())], optional: ["chain"])
        ),
        (
            "APITokenRequest",
            object(
                [
                    ("name", reference("Label")), ("role", reference("AccessRole")),
                    ("tenant", orNull(reference("Name"))),
                    ("expires_at", orNull(reference("Time"))),
                ], optional: ["tenant", "expires_at"])
        ),
        (
            "APIToken",
            object(
                [
                    ("id", string(min: 1, max: 64)), ("name", reference("Label")),
                    ("role", reference("AccessRole")), ("tenant", reference("Name")),
                    ("created_at", reference("Time")), ("expires_at", reference("Time")),
                    ("last_used_at", reference("Time")),
                ], optional: ["tenant", "expires_at", "last_used_at"])
        ),
        (
            "APITokenSecret",
            object([
                ("secret", string(min: 47, max: 47, pattern: "^bla_[A-Za-z0-9_-]{43}$")),
                ("token", reference("APIToken")),
            ])
        ),
        ("APITokenPage", page(of: "APIToken")),
        (
            "Identity",
            object(
                [
                    ("actor", string(min: 1, max: 1024)), ("role", reference("AccessRole")),
                    ("tenant", reference("Name")),
                ], optional: ["role", "tenant"])
        ),
    ]

    static let tenants: [(name: String, schema: JSONValue)] = [
        (
            "TenantRequest",
            object([
                ("name", reference("Name")), ("pools", array(reference("Prefix"), max: 16)),
            ])
        ),
        (
            "Tenant",
            object([
                ("name", reference("Name")), ("pools", array(reference("Pool"), max: 16)),
                ("node_count", integer()), ("created_at", reference("Time")),
                ("revision", integer()),
            ])
        ),
        ("TenantPage", page(of: "Tenant")),
        (
            "Pool",
            object([
                ("prefix", reference("Prefix")), ("allocated", integer()), ("capacity", integer()),
            ])
        ),
        ("PoolRequest", object([("prefix", reference("Prefix"))])),
        ("ReservationRequest", object([("addresses", array(reference("Prefix"), max: 16))])),
        (
            "Reservation",
            object([
                ("id", string(min: 1, max: 64)),
                ("addresses", array(reference("Prefix"), max: 16)),
                ("expires_at", reference("Time")),
            ])
        ),
        (
            "EnrolmentTokenRequest",
            object(
                [
                    ("reservation", string(min: 1, max: 64)), ("chain", reference("Chain")),
                    ("note", orNull(reference("Note"))),
                ], optional: ["note"])
        ),
        (
            "EnrolmentTokenRecord",
            object(
                [
                    ("id", string(min: 22, max: 22, pattern: tokenIDPattern)),
                    ("tenant", reference("Name")), ("role", reference("Role")),
                    ("addresses", array(reference("Prefix"), max: 16)),
                    ("routes", array(reference("Prefix"), max: Int64(TrustLimits.routesMax))),
                    ("groups", array(reference("Name"), max: Int64(TrustLimits.groupsMax))),
                    ("needs_approval", bool),
                    (
                        "state",
                        choice(
                            CoordinatorAPI.EnrolmentTokenRecord.State.allCases.map(\.rawValue))
                    ),
                    ("note", reference("Note")), ("created_at", reference("Time")),
                    ("expires_at", reference("Time")), ("node", reference("Key")),
                ], optional: ["note", "node"])
        ),
        ("EnrolmentTokenPage", page(of: "EnrolmentTokenRecord")),
        (
            "GroupRequest",
            object(
                [("name", reference("Name")), ("description", orNull(reference("Note")))],
                optional: ["description"])
        ),
        (
            "Group",
            object(
                [
                    ("name", reference("Name")), ("description", reference("Note")),
                    ("node_count", integer()),
                ], optional: ["description"])
        ),
        ("GroupPage", page(of: "Group")),
    ]

    private static let priority = integer(
        min: GatewayPreference.priorities.lowerBound, max: GatewayPreference.priorities.upperBound)
    private static let weight = integer(
        min: GatewayPreference.weights.lowerBound, max: GatewayPreference.weights.upperBound)
    private static let health = array(
        reference("HealthTarget"), max: Int64(GatewayPreference.targetsMax))

    static let nodes: [(name: String, schema: JSONValue)] = [
        (
            "Node",
            object(
                [
                    ("node", reference("Key")), ("name", reference("NodeName")),
                    ("tenant", reference("Name")), ("role", reference("Role")),
                    ("state", reference("NodeState")),
                    ("addresses", array(reference("Prefix"), max: 16)),
                    ("routes", array(reference("Prefix"), max: Int64(TrustLimits.routesMax))),
                    ("groups", array(reference("Name"), max: Int64(TrustLimits.groupsMax))),
                    ("profile", reference("Profile")), ("ceiling", reference("TrafficClass")),
                    ("public_key", string(min: 44, max: 44, "WireGuard key, base64.")),
                    ("endpoint", reference("Endpoint")), ("priority", priority),
                    ("weight", weight), ("health", health), ("serial", integer()),
                    ("valid_until", reference("Time")), ("chain", reference("Chain")),
                    ("is_by_hand", bool), ("is_connected", bool),
                    ("last_seen_at", reference("Time")), ("applied_number", integer()),
                    ("agent_version", reference("Label")),
                    ("refusals", map(of: integer())), ("newest_revocations", integer()),
                    ("newest_organisation_revocations", integer()),
                    ("joined_at", reference("Time")), ("revision", integer()),
                ],
                optional: [
                    "endpoint", "last_seen_at", "applied_number", "agent_version", "refusals",
                    "newest_revocations", "newest_organisation_revocations", "priority", "weight",
                    "health",
                ])
        ),
        ("NodePage", page(of: "Node")),
        (
            "NodeByHand",
            object([
                ("reservation", string(min: 1, max: 64)), ("chain", reference("Chain")),
                ("name", reference("NodeName")),
            ])
        ),
        (
            "NodeChange",
            object(
                [
                    ("name", orNull(reference("NodeName"))),
                    ("endpoint", orNull(reference("Endpoint"))),
                    ("priority", orNull(priority)), ("weight", orNull(weight)),
                    ("health", orNull(health)),
                ], optional: ["name", "endpoint", "priority", "weight", "health"])
        ),
        (
            "Enrolment",
            object(
                [
                    ("chain", reference("Chain")), ("name", reference("NodeName")),
                    ("secret_hash", string(min: 43, max: 43, pattern: keyPattern)),
                    ("endpoint", orNull(reference("Endpoint"))),
                    ("agent_version", orNull(reference("Label"))),
                ], optional: ["endpoint", "agent_version"])
        ),
        (
            "OwnState",
            object(
                [
                    ("state", reference("NodeState")), ("chain", reference("Chain")),
                    ("number", integer()), ("gateways_behind", integer()),
                    ("network", reference("NetworkState")),
                ], optional: ["network"])
        ),
        (
            "Report",
            object(
                [
                    ("applied_number", integer()), ("tenant_revocations", integer()),
                    ("organisation_revocations", integer()),
                    ("refusals", map(of: integer())),
                    ("endpoint", orNull(reference("Endpoint"))),
                    ("agent_version", orNull(reference("Label"))),
                ], optional: ["endpoint", "agent_version"])
        ),
        (
            "Peer",
            object(
                [
                    ("node", reference("Key")), ("name", reference("NodeName")),
                    ("chain", reference("Chain")), ("endpoint", reference("Endpoint")),
                    ("priority", priority), ("weight", weight), ("health", health),
                ], optional: ["endpoint", "priority", "weight", "health"])
        ),
        (
            "NetworkState",
            object(
                [
                    ("own", reference("Chain")), ("name", reference("NodeName")),
                    ("rollovers", array(reference("Statement"), max: 1024)),
                    ("organisation_revocations", reference("Chain")),
                    ("tenant_revocations", reference("Chain")),
                    ("peers", array(reference("Peer"), max: 1_000_000)),
                    ("policy", reference("AccessPolicy")), ("qos", reference("QoSPolicy")),
                ],
                optional: [
                    "name", "organisation_revocations", "tenant_revocations", "policy", "qos",
                ])
        ),
        (
            "NetworkChange",
            object(
                [
                    ("peer", reference("Peer")), ("peer_removed", reference("Key")),
                    ("own", reference("Chain")), ("name", reference("NodeName")),
                    ("revocations", reference("Chain")), ("rollover", reference("Statement")),
                    ("policy", reference("AccessPolicy")), ("qos", reference("QoSPolicy")),
                ],
                optional: [
                    "peer", "peer_removed", "own", "name", "revocations", "rollover", "policy",
                    "qos",
                ])
        ),
        (
            "WatchEvent",
            object(
                [
                    ("kind", choice(CoordinatorAPI.WatchEvent.Kind.allCases.map(\.rawValue))),
                    ("number", integer()), ("state", reference("NetworkState")),
                    ("change", reference("NetworkChange")),
                ], optional: ["state", "change"])
        ),
    ]

    static let policies: [(name: String, schema: JSONValue)] = [
        (
            "AccessPolicy",
            object(
                [
                    ("rules", array(reference("AccessRule"), max: Int64(PolicyLimits.rulesMax))),
                    ("tests", array(reference("AccessTest"), max: Int64(PolicyLimits.testsMax))),
                    (
                        "services",
                        orNull(
                            array(
                                reference("AccessService"), max: Int64(PolicyLimits.servicesMax)))
                    ),
                ], optional: ["services"])
        ),
        (
            "AccessService",
            object([
                ("name", reference("Name")),
                (
                    "destinations",
                    array(
                        reference("Prefix"), max: Int64(PolicyLimits.destinationsMax), min: 1)
                ),
            ])
        ),
        (
            "AccessRule",
            object([
                ("name", reference("Label")),
                ("from", array(reference("GroupOrAll"), max: 64, min: 1)),
                ("to", array(reference("GroupOrAll"), max: 64, min: 1)),
                ("transport", reference("Transport")),
                ("ports", array(reference("Ports"), max: 64)),
            ])
        ),
        (
            "AccessTest",
            object(
                [
                    ("from", reference("Name")), ("to", reference("Name")),
                    ("transport", choice(["tcp", "udp", "icmp"])),
                    ("port", orNull(integer(max: 65_535))), ("allowed", bool),
                ], optional: ["port"])
        ),
        (
            "GroupOrAll",
            string(
                min: 1, max: 63, pattern: "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?|\\*)$",
                "A group, as a destination also a service, or * for every one.")
        ),
        ("Transport", choice(["tcp", "udp", "icmp", "*"])),
        (
            "Ports",
            string(
                min: 1, max: 11, pattern: "^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$",
                "Such as 443 or 8000-8100.")
        ),
        (
            "PolicyTestResult", object([("failures", array(string(max: 1024), max: 1024))])
        ),
    ]

    static let others: [(name: String, schema: JSONValue)] = [
        (
            "AuditEntry",
            object(
                [
                    ("number", integer(min: 1)), ("at", reference("Time")),
                    ("actor", string(min: 1, max: 1024)), ("action", string(min: 1, max: 64)),
                    ("tenant", reference("Name")), ("subject", string(max: 1024)),
                    ("details", map(of: ["type": "string"])),
                    ("previous", string(min: 64, max: 64, pattern: "^[0-9a-f]{64}$")),
                    ("hash", string(min: 64, max: 64, pattern: "^[0-9a-f]{64}$")),
                ], optional: ["tenant"])
        ),
        ("AuditPage", page(of: "AuditEntry")),
        ("Health", object([("status", choice(["ok"]))])),
        ("Description", ["type": "object"]),
        ("MetricsText", ["type": "string"]),
    ]
}
