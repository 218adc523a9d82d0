public import ArgumentParser
import EgressScheduling
import Gateway
public import WireGuardConfiguration

/// Where a tenant's interface is to be.
struct PlaceOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Network namespace, by name or path; it is made where it is missing.",
            valueName: "namespace"))
    var namespace: String?

    @Option(help: ArgumentHelp("Routing table of the host.", valueName: "number"))
    var table: UInt32?

    @Option(help: ArgumentHelp("VRF device of the host.", valueName: "device"))
    var vrf: String?

    @Flag(help: "The host's own network.")
    var host = false

    func validate() throws {
        let count = [namespace != nil, table != nil, vrf != nil, host].count { $0 }
        guard count <= 1 else {
            throw ValidationError("give one of --namespace, --table, --vrf and --host")
        }
    }

    /// `nil` where nothing was chosen.
    var place: TenantDomain.Place? {
        if let namespace { return .namespace(namespace) }
        if let table { return .table(table) }
        if let vrf { return .vrf(vrf) }
        return host ? .host : nil
    }
}

/// What a tenant may use.
struct LimitOptions: ParsableArguments {
    @Option(help: "Share of what nobody was promised, 1 to 1000. (default: 1)")
    var weight: Int?

    @Option(
        help: ArgumentHelp(
            "Bits per second that it is sure of, such as 50M, or none.", valueName: "rate"))
    var minimumRate: RateLimit?

    @Option(
        help: ArgumentHelp(
            "Bits per second that it never exceeds, such as 1G, or none.", valueName: "rate"))
    var maximumRate: RateLimit?

    @Option(
        help: ArgumentHelp(
            "Packets per second that it never exceeds, or none.", valueName: "packets"))
    var maximumPackets: RateLimit?

    @Option(
        help: ArgumentHelp(
            "Handshakes per second that are worked on, or none.", valueName: "count"))
    var handshakes: RateLimit?

    @Option(help: ArgumentHelp("Peers that it may have, or none.", valueName: "count"))
    var peersMax: RateLimit?

    @Option(
        help: ArgumentHelp(
            "Connections that access rules remember, or none.", valueName: "count"))
    var flowsMax: RateLimit?

    var isEmpty: Bool {
        let rates = [minimumRate, maximumRate, maximumPackets, handshakes, peersMax, flowsMax]
        return weight == nil && rates.allSatisfy { $0 == nil }
    }

    /// Sets what was given and leaves the rest.
    func apply(to limits: inout TenantLimits) {
        if let weight { limits.weight = weight }
        if let minimumRate { limits.minimumRate = minimumRate.value }
        if let maximumRate { limits.maximumRate = maximumRate.value }
        if let maximumPackets { limits.maximumPacketsPerSecond = maximumPackets.value }
        if let handshakes { limits.handshakesPerSecond = handshakes.count }
        if let peersMax { limits.peersMax = peersMax.count }
        if let flowsMax { limits.flowsMax = flowsMax.count }
    }
}

/// A number such as 800k, 50M or 1.5G, or `none` for no limit.
struct RateLimit: ExpressibleByArgument {
    /// `nil` for none.
    let value: Int64?

    var count: Int? { value.map { Int(clamping: $0) } }

    init?(argument: String) {
        if argument == "none" {
            value = nil
            return
        }
        let units: [Character: Double] = ["k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12]
        let unit = argument.last.flatMap { units[$0] }
        let digits = unit == nil ? argument[...] : argument.dropLast()
        guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") }),
            let number = Double(digits), number * (unit ?? 1) < 1e18
        else { return nil }
        value = Int64(number * (unit ?? 1))
    }
}

extension AddressSetting: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}
