import ControlModel
import PacketFormats

extension Schemas {
    static let qos: [(name: String, schema: JSONValue)] = [
        (
            "QoSPolicy",
            object(
                [
                    (
                        "services",
                        described(
                            array(reference("QoSService"), max: Int64(PolicyLimits.servicesMax)),
                            "At most \(PolicyLimits.servicePortsMax) port ranges in all together.")
                    ),
                    ("weights", map(of: integer(min: 1, max: Int64(PolicyLimits.weightMax)))),
                    (
                        "priority_percent",
                        orNull(
                            integer(
                                in: PolicyLimits.priorityPercents,
                                "What token and activation may take of a busy link first."))
                    ),
                    (
                        "activation_deadline_ms",
                        orNull(integer(in: PolicyLimits.deadlineMilliseconds))
                    ),
                    ("minimum_rate", orNull(integer(min: 1, max: PolicyLimits.rateMax))),
                    ("maximum_rate", orNull(integer(min: 1, max: PolicyLimits.rateMax))),
                    (
                        "believe",
                        described(
                            orNull(map(of: reference("TrafficClass"))), "Classes by DSCP.")
                    ),
                    ("marking", orNull(reference("QoSMarking"))),
                    ("budget", orNull(reference("QoSBudget"))),
                    ("classify", orNull(bool)), ("read_usage", orNull(bool)),
                    (
                        "links",
                        described(
                            orNull(map(of: reference("QoSLink"))), "Lines by the name of a node.")
                    ),
                ],
                optional: [
                    "services", "weights", "priority_percent", "activation_deadline_ms",
                    "minimum_rate", "maximum_rate", "believe", "marking", "budget", "classify",
                    "read_usage", "links",
                ])
        ),
        (
            "QoSService",
            object(
                [
                    ("name", reference("Label")), ("destination", reference("Prefix")),
                    ("transport", choice(["tcp", "udp", "*"])),
                    ("ports", array(reference("Ports"), max: Int64(PolicyLimits.portsMax))),
                    ("traffic_class", orNull(reference("TrafficClass"))),
                ], optional: ["ports", "traffic_class"])
        ),
        (
            "QoSMarking",
            object(
                [
                    ("outer", orNull(choice(["off", "class", "copy"]))), ("inner", orNull(bool)),
                    (
                        "classes",
                        described(orNull(map(of: reference("DSCP"))), "DSCPs by class.")
                    ),
                ], optional: ["outer", "inner", "classes"])
        ),
        (
            "DSCP",
            string(
                min: 1, max: 11, pattern: "^([A-Za-z][A-Za-z0-9-]{1,10}|[0-9]{1,2})$",
                "Such as AF21, or 0 to 63.")
        ),
        (
            "QoSBudget",
            object(
                [
                    ("bytes", orNull(integer(min: 1))), ("tokens", orNull(integer(min: 1))),
                    ("per_seconds", orNull(integer(in: PolicyLimits.budgetSeconds))),
                ], optional: ["bytes", "tokens", "per_seconds"])
        ),
        (
            "QoSLink",
            object(
                [
                    ("uplink_rate", orNull(linkRate)), ("downlink_rate", orNull(linkRate)),
                    ("overhead_bytes", orNull(integer(in: PolicyLimits.overheadBytes))),
                    ("uplink_minimum_rate", orNull(linkRate)),
                ],
                optional: [
                    "uplink_rate", "downlink_rate", "overhead_bytes", "uplink_minimum_rate",
                ])
        ),
    ]

    private static let linkRate = integer(
        min: PolicyLimits.linkRates.lowerBound, max: PolicyLimits.linkRates.upperBound,
        "Bits per second.")

    private static func integer(
        in range: ClosedRange<Int>, _ description: String? = nil
    ) -> JSONValue {
        integer(min: Int64(range.lowerBound), max: Int64(range.upperBound), description)
    }
}
