import ControlModel
import PacketFormats

/// The schemas of the messages: JSON Schema 2020-12, as OpenAPI 3.1 has it.
///
/// Requests may leave optional members out or give `null`; answers leave them out.
enum Schemas {
    static let all: [(name: String, schema: JSONValue)] =
        basics + organisation + tenants + nodes + policies + qos + others

    static func reference(_ name: String) -> JSONValue { ["$ref": "#/components/schemas/\(name)"] }

    // MARK: Words

    static func object(
        _ properties: [(String, JSONValue)], optional: Set<String> = []
    ) -> JSONValue {
        let required = properties.map(\.0).filter { !optional.contains($0) }
        var members: [JSONValue.Member] = [.init(name: "type", value: "object")]
        if !required.isEmpty {
            members.append(
                .init(name: "required", value: .array(required.map { .string($0) })))
        }
        members.append(
            .init(
                name: "properties",
                value: .object(properties.map { .init(name: $0, value: $1) })))
        return .object(members)
    }

    static func string(
        min: Int64 = 0, max: Int64, pattern: String? = nil, _ description: String? = nil
    ) -> JSONValue {
        var schema: JSONValue = ["type": "string", "minLength": .integer(min)]
        schema = schema.adding(["maxLength": .integer(max)])
        if let pattern { schema = schema.adding(["pattern": .string(pattern)]) }
        return described(schema, description)
    }

    static func integer(
        min: Int64 = 0, max: Int64 = TrustLimits.integerMax, _ description: String? = nil
    ) -> JSONValue {
        described(
            [
                "type": "integer", "format": "int64", "minimum": .integer(min),
                "maximum": .integer(max),
            ], description)
    }

    static func array(_ items: JSONValue, max: Int64, min: Int64 = 0) -> JSONValue {
        ["type": "array", "minItems": .integer(min), "maxItems": .integer(max), "items": items]
    }

    static func choice(_ values: [String]) -> JSONValue {
        ["type": "string", "enum": .array(values.map { .string($0) })]
    }

    static func described(_ schema: JSONValue, _ description: String?) -> JSONValue {
        guard let description else { return schema }
        return schema.adding(["description": .string(description)])
    }

    static func orNull(_ schema: JSONValue) -> JSONValue {
        ["anyOf": [schema, ["type": "null"]]]
    }

    static func page(of item: String) -> JSONValue {
        object(
            [
                ("items", array(reference(item), max: 1000)),
                ("next", string(max: 128, "Give this as `after` to get what follows.")),
            ], optional: ["next"])
    }

    static let bool: JSONValue = ["type": "boolean"]

    static func map(of value: JSONValue) -> JSONValue {
        ["type": "object", "additionalProperties": value]
    }

    // MARK: Basics

    static let namePattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
    static let keyPattern = "^[A-Za-z0-9_-]{43}$"
    /// No control characters.
    static let plainPattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
    static let tokenIDPattern = "^[A-Za-z0-9_-]{22}$"

    private static let basics: [(name: String, schema: JSONValue)] = [
        ("Name", string(min: 1, max: 63, pattern: namePattern, "A tenant or a group.")),
        ("Key", string(min: 43, max: 43, pattern: keyPattern, "Ed25519, base64url.")),
        ("Time", integer(max: TrustLimits.timeMax, "Unix seconds.")),
        ("Chain", string(min: 1, max: 2_200_000, "Signed statements with ~ between them.")),
        ("Statement", string(min: 1, max: 16_384, "A JWS with EdDSA.")),
        (
            "Prefix",
            string(
                min: 4, max: 49, pattern: "^[0-9a-f.:]{2,45}/(0|[1-9][0-9]{0,2})$",
                "Such as 10.64.0.0/16 or fd00:64::/64.")
        ),
        (
            "Label",
            string(
                min: 1, max: Int64(ServiceLimits.labelBytesMax), pattern: plainPattern,
                "For people; at most 128 bytes of UTF-8.")
        ),
        (
            "Note",
            string(
                min: 1, max: Int64(ServiceLimits.noteBytesMax), pattern: plainPattern,
                "For people; at most 1,024 bytes of UTF-8.")
        ),
        ("NodeName", string(min: 1, max: 63, pattern: "^[A-Za-z0-9.-]{1,63}$")),
        (
            "Endpoint",
            string(
                min: 3, max: Int64(ServiceLimits.endpointBytesMax),
                pattern: "^([A-Za-z0-9.-]{1,253}|\\[[0-9a-fA-F:.]{2,45}\\]):[1-9][0-9]{0,4}$",
                "Such as gw.example:51820 or [2001:db8::1]:51820.")
        ),
        (
            "HealthTarget",
            string(
                min: 7, max: Int64(HealthTarget.textBytesMax),
                pattern: "^(icmp:[0-9a-fA-F:.]{2,45}|tcp:([0-9.]{7,15}|\\[[0-9a-fA-F:.]{2,45}\\])"
                    + ":[1-9][0-9]{0,4})$",
                "What others ask through a gateway, such as icmp:10.0.0.5 or tcp:10.0.0.5:443.")
        ),
        ("Role", choice(Role.allCases.map(\.rawValue))),
        ("Profile", choice(TunnelProfile.allCases.map(\.rawValue))),
        ("TrafficClass", choice(ClassCeiling.allCases.map(\.rawValue))),
        ("AccessRole", choice(CoordinatorAPI.AccessRole.allCases.map(\.rawValue))),
        ("NodeState", choice(CoordinatorAPI.NodeState.allCases.map(\.rawValue))),
        (
            "Problem",
            described(
                object(
                    [
                        ("type", string(max: 255)),
                        ("reason", string(min: 1, max: 64, "For programs.")),
                        ("title", string(min: 1, max: 128)),
                        ("status", integer(min: 400, max: 599)),
                        ("detail", string(max: 4096, "What was wrong and what to do.")),
                        ("failures", array(string(max: 1024), max: 1024)),
                        ("request_id", string(min: 1, max: 64)),
                    ], optional: ["failures"]), "RFC 9457.")
        ),
    ]
}
