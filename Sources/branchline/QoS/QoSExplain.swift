import ArgumentParser
import Cryptography
import PacketFormats
import WireGuardConfiguration

struct QoSExplain: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Say why a flow is in its class.",
        discussion: """
            FLOW is one end, or both in either order with a hyphen between: 10.0.0.2, \
            10.0.0.2:51000, '[fd00::2]:51000', or '*:443' for a port of any address. Of many \
            flows the latest are explained. For example:

              sudo branchline qos explain 10.0.0.2:51000-10.9.0.5:443
              sudo branchline qos explain 10.9.0.5:443 --interface wg0
              sudo branchline qos explain '*:443' --json | jq '.[].steps'

            A class follows from the first of these that says something: the policy's services, \
            DSCPs that the policy believes, what the first packets show, sizes and times of \
            packets, and how much has passed. A ceiling or a budget may hold it down.

            With --json: a list with one object per flow: interface, tenant on a gateway, \
            \(FlowObject.jsonHelp); and steps in the order of trust, each with step, decides and \
            reason.
            """)

    @Argument(help: "The flow: one end or two, as 10.0.0.2:51000-10.9.0.5:443.")
    var flow: FlowEnds

    @Option(
        name: [.long, .short], help: "Look at this interface only.",
        completion: .custom { _, _, _ in InterfaceSocket.live().map(\.name) })
    var interface: String?

    @Option(
        name: [.long, .short],
        help: ArgumentHelp("A tenant of this machine's gateway.", valueName: "name"))
    var tenant: String?

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        if tenant != nil && interface != nil {
            throw ValidationError("give --interface or --tenant")
        }
    }

    func run() throws {
        var scope = TunnelScope()
        scope.interface = interface
        scope.tenant = tenant
        var unfollowed: [String] = []
        let found = try scope.collect { tunnel in
            guard try tunnel.socket.qosStatus()?.isClassifying ?? true else {
                unfollowed.append(tunnel.socket.name)
                return [Explanation]()
            }
            return try (tunnel.socket.flows(flow.query) ?? []).map { Explanation($0, of: tunnel) }
        }
        let all = found.flatMap(\.self)
        if found.isEmpty { throw Failure.failed(String(TunnelScope.nothingIsUp.dropLast())) }
        if all.isEmpty, !unfollowed.isEmpty {
            throw Failure.failed(
                "on \(unfollowed.joined(separator: ", ")) classes are not told apart, so flows are "
                    + "not followed: the QoS policy there says \"classify\": false")
        }
        if all.isEmpty {
            throw Failure.failed(
                "no flow is known that matches \(flow.text); a flow is known while it moves, see "
                    + "`branchline trace --all`")
        }
        let shown = all.prefix(Self.shownMax)
        if json {
            try Console.output(try InterfaceReport.json(Array(shown)))
            return
        }
        try Console.write(shown.map { $0.text }.joined(separator: "\n"))
        if shown.count < all.count {
            try Console.output("\nand \(all.count - shown.count) more; name both ends")
        }
    }

    private static let shownMax = 20
}

/// Why one flow is in its class.
struct Explanation: Encodable {
    struct Step: Encodable {
        /// Of the order of trust.
        let step: String
        let decides: Bool
        let reason: String
    }

    let interface: String
    let tenant: String?
    let flow: FlowObject
    let steps: [Step]
    private let report: FlowReport

    init(_ flow: FlowReport, of tunnel: TunnelScope.Tunnel) {
        interface = tunnel.socket.name
        tenant = tunnel.tenant
        self.flow = FlowObject(flow, names: tunnel.peerNames)
        report = flow
        steps = Self.steps(of: flow)
    }

    private enum CodingKeys: String, CodingKey { case interface, tenant, steps }

    func encode(to encoder: any Encoder) throws {
        try flow.encode(to: encoder)
        var object = encoder.container(keyedBy: CodingKeys.self)
        try object.encode(interface, forKey: .interface)
        try object.encodeIfPresent(tenant, forKey: .tenant)
        try object.encode(steps, forKey: .steps)
    }

    /// Down to what decides; nothing behind it was asked.
    private static func steps(of flow: FlowReport) -> [Step] {
        let decider = EvidenceRank(flow.evidence)
        return EvidenceRank.allCases.prefix { $0.rawValue <= decider.rawValue }.map { trust in
            let decides = trust == decider
            return Step(
                step: trust.name, decides: decides,
                reason: decides ? reason(of: flow) : trust.absence(of: flow))
        }
    }

    private static func reason(of flow: FlowReport) -> String {
        switch flow.evidence {
        case .policy:
            flow.service.map { "the policy's service \($0) gives the class" }
                ?? "a service of the policy gives the class"
        case .mark: "its packets carry a DSCP that the policy believes"
        case .http1: "its packets show HTTP/1.1"
        case .http2: "its packets show HTTP/2"
        case .grpc: "its packets show gRPC"
        case .tls:
            "sizes and times of its packets show what it is; its heads show TLS only"
        case .behaviour: "sizes and times of its packets show what it is"
        case .beginning: "it has only begun, and a flow begins high"
        case .size: "it went on beyond its beginning and showed nothing"
        }
    }
}

/// What a class may follow from, the most trusted first.
private enum EvidenceRank: Int, CaseIterable {
    case policy, mark, packets, behaviour, size

    init(_ evidence: FlowReport.Evidence) {
        self =
            switch evidence {
            case .policy: .policy
            case .mark: .mark
            case .http1, .http2, .grpc: .packets
            case .tls, .behaviour: .behaviour
            case .beginning, .size: .size
            }
    }

    var name: String {
        switch self {
        case .policy: "policy"
        case .mark: "mark"
        case .packets: "packets"
        case .behaviour: "behaviour"
        case .size: "size"
        }
    }

    /// Why it did not decide.
    func absence(of flow: FlowReport) -> String {
        switch self {
        case .policy:
            flow.service.map { "the service \($0) matches, and gives no class" }
                ?? "no service matches"
        case .mark: "no DSCP that the policy believes"
        case .packets:
            flow.evidence == .tls
                ? "they show TLS, and not what is in it" : "no protocol that is known"
        case .behaviour: "no stream of tokens"
        case .size: ""
        }
    }
}

// MARK: - Text

extension Explanation {
    var text: String {
        var lines = [Text.line("\(report.ends), \(report.transport), on \(place)")]
        lines += facts.map { "  \($0.name.padded(to: 18))\(Text.line($0.value))" }
        return lines.joined(separator: "\n") + "\n"
    }

    private var place: String {
        let peer = report.peer.map { key in
            " with \(flow.peerName ?? String(key.base64.prefix(10)))"
        }
        return interface + (tenant.map { " of \($0)" } ?? "") + (peer ?? "")
    }

    private var facts: [(name: String, value: String)] {
        var facts = [("class", report.trafficClass.name)]
        for step in steps {
            facts.append((
                step.decides ? "because" : "not by \(step.step)",
                step.decides ? reason(step) : step.reason
            ))
        }
        if let limit = report.limit { facts.append(("held down by", Self.words(limit))) }
        if let service = report.service { facts.append(("service", service)) }
        facts.append(("phase", phase))
        facts.append((
            "bytes", "\(Text.bytes(report.bytesOut)) sent, \(Text.bytes(report.bytesIn)) received"
        ))
        facts.append((
            "seen", "for \(Text.time(nanoseconds: report.ageNanoseconds)), last "
                + "\(Text.time(nanoseconds: report.idleNanoseconds)) ago"
        ))
        if report.chunks > 0 || report.firstChunkNanoseconds != nil {
            facts.append(("answer", answer))
        }
        if report.retransmissions > 0 {
            facts.append(("sent again", "\(report.retransmissions) segments"))
        }
        return facts
    }

    private func reason(_ step: Step) -> String {
        let detail = report.detail.isEmpty ? "" : ": \(report.detail)"
        let isSure = report.confidence >= 100 || report.confidence <= 0
        return step.reason + detail + (isSure ? "" : " (\(report.confidence) % sure)")
    }

    private var phase: String {
        report.phase.rawValue + (report.isTokenStream ? ", a stream of tokens" : "")
            + (report.requests > 1 ? ", request \(report.requests)" : "")
    }

    private var answer: String {
        var words = ["first chunk after \(Text.time(nanoseconds: report.firstChunkNanoseconds))"]
        if report.chunks > 0 { words.append("\(report.chunks) chunks") }
        if let time = report.interChunkNanoseconds {
            words.append(
                "\(Text.time(nanoseconds: time)) between them, at most "
                    + Text.time(nanoseconds: report.interChunkMaxNanoseconds))
        }
        if report.stalls > 0 { words.append("\(report.stalls) gaps of more than a second") }
        return words.joined(separator: ", ")
    }

    private static func words(_ limit: String) -> String {
        switch limit {
        case "ceiling": "the ceiling of this side or of the peer, which allows no better class"
        case "budget": "the budget, which is used up: all is background until it is there again"
        default: limit
        }
    }
}
