import ControlModel
import EgressScheduling
import Foundation
import Gateway
import Glibc
import NodeAgent
import WireGuardConfiguration

/// What is printed of a tenant of this machine's gateway, as text and, encoded, as JSON.
struct TenantReport: Encodable {
    struct Rates: Encodable {
        let receivedBitsPerSecond: UInt64
        let transmittedBitsPerSecond: UInt64
    }

    let tenant: String
    /// As in ``GatewayStatus/State``; `stopped` where no gateway runs.
    let state: String
    let since: Int64?
    let fault: GatewayStatus.Fault?
    let lastFault: GatewayStatus.Fault?
    let retryAt: Int64?
    let restarts: Int
    let notes: [String]
    let interface: String?
    let place: String?
    let addresses: [String]
    let configuration: String?
    let membership: String?
    let routeHook: String?
    let limits: TenantLimits?
    let peerCount: Int?
    /// Peers that have shaken hands within the last three minutes.
    let livePeerCount: Int?
    let rates: Rates?
    let dropped: UInt64?
    /// Packets that access rules did not let through; `nil` where none are in force.
    let denied: UInt64?
    /// The interface itself, where one tenant is asked for.
    let device: InterfaceReport?

    /// - Parameter withDevice: Whether all that the interface tells is wanted.
    static func collect(
        _ gateway: LocalGateway, _ tenants: [String], withDevice: Bool = false
    ) -> [TenantReport] {
        let status = gateway.status
        let first = tenants.map { Sample(gateway, $0, status?[$0], asksEngine: true) }
        // Rates are what passes while we look.
        if first.contains(where: { $0.device != nil }) { usleep(sampleMicroseconds) }
        return first.map { sample in
            TenantReport(
                sample, later: sample.device.flatMap { _ in sample.again() },
                isServed: status != nil, withDevice: withDevice)
        }
    }

    /// What `status --tenant` and `tenant show` print.
    static func screen(of tenant: String, json: Bool) throws -> String {
        try requireRoot(to: "look into the gateway's folder")
        let gateway = LocalGateway()
        guard gateway.folder.hasTenant(tenant),
            let report = collect(gateway, [tenant], withDevice: true).first
        else {
            _ = try gateway.domain(tenant)
            return ""
        }
        if json { return try APIJSON.encodePretty(report) + "\n" }
        return Text.plain(report.asText(now: Text.now))
    }

    private init(_ sample: Sample, later: Sample.Bytes?, isServed: Bool, withDevice: Bool) {
        let told = sample.told, domain = sample.domain
        tenant = sample.tenant
        state = told?.state.rawValue ?? (isServed ? "waiting" : "stopped")
        since = told?.since
        fault = told?.fault
            ?? sample.fault.map { GatewayStatus.Fault($0, at: Int64(clamping: Text.now)) }
        lastFault = told?.lastFault
        retryAt = told?.retryAt
        restarts = told?.restarts ?? 0
        notes = told?.notes ?? []
        interface = domain?.interface ?? told?.interface
        place = domain?.place.description ?? told?.place
        addresses = domain?.addresses.map(\.description) ?? []
        configuration = domain?.configuration
        membership = domain?.membership
        routeHook = domain?.routeHook
        limits = domain?.limits
        let peers = sample.device?.peers
        peerCount = peers?.count
        livePeerCount = peers?.count { Text.now < $0.lastHandshakeSeconds + Self.liveSeconds }
        rates = later.flatMap { later in sample.bytes.map { Self.rates(from: $0, to: later) } }
        denied = sample.engine?.access?.denials.reduce(0) { $0 &+ $1.count }
        dropped = sample.engine?.drops.reduce(0) { $0 &+ $1.count }
        device = withDevice
            ? sample.device.map {
                InterfaceReport(
                    name: sample.domain?.interface ?? "", device: $0, engine: sample.engine,
                    agent: sample.agent)
            } : nil
    }

    private static func rates(from first: Sample.Bytes, to second: Sample.Bytes) -> Rates {
        let seconds = max(second.time - first.time, 0.001)
        func rate(_ old: UInt64, _ new: UInt64) -> UInt64 {
            new > old ? UInt64(Double(new - old) * 8 / seconds) : 0
        }
        return Rates(
            receivedBitsPerSecond: rate(first.received, second.received),
            transmittedBitsPerSecond: rate(first.transmitted, second.transmitted))
    }

    /// A WireGuard session lasts as long (REJECT_AFTER_TIME).
    private static let liveSeconds: UInt64 = 180
    private static let sampleMicroseconds: UInt32 = 400_000
}

/// What a tenant's files and socket say at one moment.
private struct Sample {
    struct Bytes {
        let received: UInt64
        let transmitted: UInt64
        /// In seconds of the monotonic clock.
        let time: Double

        init(_ status: DeviceStatus) {
            received = status.peers.reduce(0) { $0 &+ $1.receivedBytes }
            transmitted = status.peers.reduce(0) { $0 &+ $1.transmittedBytes }
            time = ProcessInfo.processInfo.systemUptime
        }
    }

    let tenant: String
    let told: GatewayStatus.Tenant?
    let domain: TenantDomain?
    let fault: TenantFault?
    let device: DeviceStatus?
    let engine: EngineStatus?
    let agent: AgentStatus?
    let bytes: Bytes?
    private let socket: InterfaceSocket?

    init(
        _ gateway: LocalGateway, _ tenant: String, _ told: GatewayStatus.Tenant?,
        asksEngine: Bool
    ) {
        self.tenant = tenant
        self.told = told
        switch gateway.folder.entry(of: tenant).outcome {
        case .success(let found):
            domain = found
            fault = nil
        case .failure(let found):
            domain = nil
            fault = found
        }
        let isUp = told != nil && told?.state != .faulty
        let name = domain?.interface ?? told?.interface
        socket = isUp ? name.flatMap { try? InterfaceSocket(name: $0) } : nil
        device = socket.flatMap { try? $0.deviceStatus() }
        bytes = device.map(Bytes.init)
        engine = asksEngine && device != nil ? (try? socket?.engineStatus()) ?? nil : nil
        agent = domain?.membership.flatMap { MembershipFolder(path: $0).status() }
    }

    func again() -> Bytes? {
        socket.flatMap { try? $0.deviceStatus() }.map(Bytes.init)
    }
}

// MARK: - Text

extension TenantReport {
    /// Everything of one tenant.
    func asText(now: UInt64) -> String {
        var lines = ["tenant \(tenant)"]
        lines += facts(now: now).map { "  \($0.name.padded(to: 15))\(Text.line($0.value))" }
        if let device { lines += ["", device.asTable(now: now)] }
        return lines.joined(separator: "\n") + "\n"
    }

    private func facts(now: UInt64) -> [(name: String, value: String)] {
        var facts: [(name: String, value: String)] = [("state", stateWords(now: now))]
        if let fault {
            facts.append(("fault", "\(fault.kind.rawValue): \(fault.detail)"))
        } else if let lastFault {
            let ago = Text.shortAgo(seconds: UInt64(clamping: lastFault.at), now: now)
            facts.append(("last fault", "\(ago), \(lastFault.kind.rawValue): \(lastFault.detail)"))
        }
        facts += notes.map { ("note", $0) }
        if let interface { facts.append(("interface", interface)) }
        if let place { facts.append(("place", place)) }
        if !addresses.isEmpty { facts.append(("addresses", addresses.joined(separator: ", "))) }
        if let configuration { facts.append(("configuration", configuration)) }
        if let membership { facts.append(("membership", membership)) }
        if let routeHook { facts.append(("route hook", routeHook)) }
        if let limits { facts.append(("limits", Self.words(for: limits))) }
        if let peerCount, let livePeerCount {
            facts.append(("peers", "\(peerCount), \(livePeerCount) of them live"))
        }
        if let rates {
            facts.append(
                (
                    "rate",
                    "\(Text.rate(rates.receivedBitsPerSecond)) received, "
                        + "\(Text.rate(rates.transmittedBitsPerSecond)) sent"
                ))
        }
        if let denied {
            facts.append(("denied", "\(Self.count(denied, "packet")) by access rules"))
        }
        if let dropped { facts.append(("dropped", "\(Self.count(dropped, "packet"))")) }
        return facts
    }

    func stateWords(now: UInt64) -> String {
        var words = state
        if let since {
            let seconds = now - min(now, UInt64(clamping: since))
            words += " for \(Text.shortDuration(seconds: seconds))"
        }
        if restarts > 0 { words += ", begun anew \(restarts == 1 ? "once" : "\(restarts) times")" }
        if let retryAt, state == GatewayStatus.State.faulty.rawValue {
            let left = max(retryAt - Int64(clamping: now), 0)
            words += ", tried again in \(left) s"
        }
        return words
    }

    static func words(for limits: TenantLimits) -> String {
        var words = ["weight \(limits.weight)"]
        if let rate = limits.minimumRate { words.append("at least \(Text.rate(UInt64(rate)))") }
        if let rate = limits.maximumRate { words.append("at most \(Text.rate(UInt64(rate)))") }
        if let count = limits.maximumPacketsPerSecond {
            words.append(Self.count(count, "packet") + "/s")
        }
        if let count = limits.handshakesPerSecond {
            words.append(Self.count(count, "handshake") + "/s")
        }
        if let count = limits.peersMax { words.append(Self.count(count, "peer")) }
        if let count = limits.flowsMax { words.append(Self.count(count, "flow")) }
        return words.joined(separator: ", ")
    }

    private static func count(_ count: some BinaryInteger, _ noun: String) -> String {
        "\(count) \(noun)\(count == 1 ? "" : "s")"
    }
}
