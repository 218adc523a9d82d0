import ControlModel
import Cryptography
import NodeAgent
import PacketFormats
import WireGuardConfiguration

/// What is printed of one tunnel's QoS, as text and, encoded, as JSON.
struct QoSReport: Encodable {
    struct Link: Encodable {
        let bitsPerSecond: Int64
        /// What is used of it, so that the queue stays here.
        let shapedBitsPerSecond: Int64
        let overheadBytes: Int
        /// By all tenants of a gateway.
        let isShared: Bool
        /// `nil` where its rate is always the same, and below.
        let minimumBitsPerSecond: Int64?
        /// What the line is taken to have now; ``shapedBitsPerSecond`` is of it.
        let currentBitsPerSecond: Int64?
        /// `nil` before the first change, and below.
        let latestChange: String?
        let latestChangeAgeMs: UInt64?
        /// How late packets were; `nil` where the change was for something else.
        let latestChangeLateMs: Double?
        /// `nil` of a shared line, and below.
        let wireBytes: UInt64?
        /// On the line while we looked.
        let wireBitsPerSecond: UInt64?
    }

    struct Class: Encodable {
        let trafficClass: String
        let packets: UInt64
        let bytes: UInt64
        /// Inner bits while we looked.
        let bitsPerSecond: UInt64
        let queuedPackets: UInt64
        let queuedBytes: UInt64
        let sojournCounts: [UInt64]
        let sojournP50Us: Double?
        let sojournP99Us: Double?
        /// Of all time; between two looks a bound that no wait was above.
        let sojournMaxUs: Double
        let marks: UInt64
        let earlyDrops: UInt64
        let overflowDrops: UInt64
        let outerMarked: UInt64
        let innerMarked: UInt64
        /// For people.
        let waitP50: Histogram.Quantile?
        let waitP99: Histogram.Quantile?

        private enum CodingKeys: String, CodingKey {
            case trafficClass, packets, bytes, bitsPerSecond, queuedPackets, queuedBytes
            case sojournCounts, sojournP50Us, sojournP99Us, sojournMaxUs, marks, earlyDrops
            case overflowDrops, outerMarked, innerMarked
        }
    }

    struct Path: Encodable {
        let peer: String
        let name: String?
        let link: Link
        let queuedPackets: UInt64
        let queuedBytes: UInt64
    }

    let interface: String
    let tenant: String?
    /// `nil` where a program serves the interface that tells nothing of QoS, and below nothing.
    let isClassifying: Bool?
    let link: Link?
    let flowCount: Int?
    let flowCapacity: Int?
    let evictedFlows: UInt64?
    let isOverBudget: Bool?
    let overBudgetPackets: UInt64?
    let sojournBoundsUs: [Int]?
    let classes: [Class]
    let paths: [Path]
    let measures: [MeasureReport]
    /// Why the interface's own QoS file is not used; `nil` where it is, or somebody else tells.
    let localFileFault: String?

    /// Of tunnels that were there at both looks.
    ///
    /// - Parameter sinceLastLook: Whether waits are those between the looks, not those of all time.
    static func reports(
        from old: [TunnelScope.Look], to new: [TunnelScope.Look], sinceLastLook: Bool
    ) -> [QoSReport] {
        let before = Dictionary(
            old.map { ($0.tunnel.socket.name, $0) }, uniquingKeysWith: { first, _ in first })
        return new.map { look in
            QoSReport(
                look, after: before[look.tunnel.socket.name] ?? look, sinceLastLook: sinceLastLook)
        }
    }

    private init(_ look: TunnelScope.Look, after old: TunnelScope.Look, sinceLastLook: Bool) {
        let tunnel = look.tunnel, status = look.status, before = old.status
        let seconds = look.time - old.time
        interface = tunnel.socket.name
        tenant = tunnel.tenant
        isClassifying = status?.isClassifying
        link = status?.link.map {
            Link(
                $0, status?.following, isShared: status?.isLinkShared ?? false,
                wireBytes: status?.linkWireBytes ?? 0, before: before?.linkWireBytes ?? 0,
                seconds: seconds)
        }
        flowCount = status?.flowCount
        flowCapacity = status?.flowCapacity
        evictedFlows = status?.evictedFlows
        isOverBudget = status?.isOverBudget
        overBudgetPackets = status?.overBudgetPackets
        sojournBoundsUs = status.map { _ in QoSStatus.sojournBoundsMicroseconds }
        let classesBefore = Dictionary(
            (before?.classes ?? []).map { ($0.trafficClass, $0) },
            uniquingKeysWith: { first, _ in first })
        classes = (status?.classes ?? []).map { one in
            Class(
                one, after: classesBefore[one.trafficClass] ?? one, seconds: seconds,
                sinceLastLook: sinceLastLook)
        }
        let pathsBefore = Dictionary(
            (before?.paths ?? []).map { ($0.peer, $0) }, uniquingKeysWith: { first, _ in first })
        paths = (status?.paths ?? []).map { path in
            Path(
                peer: path.peer.base64, name: tunnel.peerNames[path.peer.base64],
                link: Link(
                    path.link, nil, isShared: false, wireBytes: path.wireBytes,
                    before: (pathsBefore[path.peer] ?? path).wireBytes, seconds: seconds),
                queuedPackets: path.queuedPackets, queuedBytes: path.queuedBytes)
        }
        measures = (status?.measures ?? []).map { MeasureReport($0, names: tunnel.peerNames) }
        localFileFault = Self.localFileFault(of: tunnel)
    }

    /// In `branchline status` are those of joined interfaces, in `gateway show` those of tenants.
    private static func localFileFault(of tunnel: TunnelScope.Tunnel) -> String? {
        let interface = tunnel.socket.name
        guard tunnel.tenant == nil, JoinedInterface.find(interface) == nil else { return nil }
        do throws(QoSFileFault) {
            _ = try QoSFile.standard(of: interface).read()
            return nil
        } catch {
            return "\(error)"
        }
    }

    /// Bits per second; 0 where the counter began anew, or nothing can be said.
    static func rate(from old: UInt64, to new: UInt64, seconds: Double) -> UInt64 {
        guard new > old, seconds > 0 else { return 0 }
        return UInt64(min(Double(new - old) * 8 / seconds, 1e18))
    }

    /// What `--help` says of the JSON form.
    static let jsonHelp = """
        With --json: a list with one object per interface: interface, tenant on a gateway, \
        is_classifying, link where its rate is known (bits_per_second, shaped_bits_per_second, \
        overhead_bytes, is_shared, and where it is not wire_bytes and wire_bits_per_second; where \
        its rate is followed also minimum_bits_per_second, current_bits_per_second and, once it \
        has changed, latest_change (raised, late, silence or idle), latest_change_age_ms and \
        latest_change_late_ms), flow_count, flow_capacity, \
        evicted_flows, is_over_budget, over_budget_packets, sojourn_bounds_us; classes with \
        traffic_class, packets, bytes, bits_per_second, queued_packets, queued_bytes, \
        sojourn_counts (one for each bound, since the daemon began, and one above), \
        sojourn_p50_us, sojourn_p99_us, sojourn_max_us, marks, early_drops, overflow_drops, \
        outer_marked and inner_marked; paths, which are peers with a line of their own: peer, \
        name, link, queued_packets and queued_bytes; measures as `branchline trace --json` has \
        them; and local_file_fault, why the interface's own QoS file is not used. What is not \
        known is left out.
        """
}

extension QoSReport.Link {
    fileprivate init(
        _ link: QoSSettings.Link, _ following: QoSStatus.Following?, isShared: Bool,
        wireBytes: UInt64, before: UInt64, seconds: Double
    ) {
        bitsPerSecond = link.bitsPerSecond
        minimumBitsPerSecond = link.minimumBitsPerSecond
        currentBitsPerSecond = following?.bitsPerSecond
        latestChange = following?.cause?.rawValue
        latestChangeAgeMs = following?.cause.map { _ in
            (following?.ageNanoseconds ?? 0) / 1_000_000
        }
        latestChangeLateMs = following?.cause == .late
            ? Double(following?.delayNanoseconds ?? 0) / 1e6 : nil
        shapedBitsPerSecond = Int64(
            Double(following?.bitsPerSecond ?? link.bitsPerSecond)
                * QoSSettings.Link.shapedShare)
        overheadBytes = link.overheadBytes
        self.isShared = isShared
        self.wireBytes = isShared ? nil : wireBytes
        wireBitsPerSecond = isShared
            ? nil : QoSReport.rate(from: before, to: wireBytes, seconds: seconds)
    }
}

extension QoSReport.Class {
    fileprivate init(
        _ one: QoSStatus.ClassStatus, after old: QoSStatus.ClassStatus, seconds: Double,
        sinceLastLook: Bool
    ) {
        let bounds = QoSStatus.sojournBoundsMicroseconds.map(Double.init)
        let all = Histogram(counts: one.sojournCounts, bounds: bounds)
        let shown = sinceLastLook
            ? all.since(Histogram(counts: old.sojournCounts, bounds: bounds)) : all
        let longestEver = Double(one.sojournMaxNanoseconds) / 1_000
        let longest = sinceLastLook ? min(longestEver, shown.upperBound ?? 0) : longestEver
        trafficClass = one.trafficClass.name
        packets = one.packets
        bytes = one.bytes
        bitsPerSecond = QoSReport.rate(from: old.bytes, to: one.bytes, seconds: seconds)
        queuedPackets = one.queuedPackets
        queuedBytes = one.queuedBytes
        sojournCounts = all.counts
        waitP50 = shown.quantile(0.5, atMost: longest)
        waitP99 = shown.quantile(0.99, atMost: longest)
        sojournP50Us = waitP50?.value
        sojournP99Us = waitP99?.value
        sojournMaxUs = longest
        marks = one.marks
        earlyDrops = one.earlyDrops
        overflowDrops = one.overflowDrops
        outerMarked = one.outerMarked
        innerMarked = one.innerMarked
    }
}

// MARK: - Text

extension QoSReport {
    func asTable() -> String {
        var lines = [Text.line((tenant.map { "tenant \($0), " } ?? "") + "interface \(interface)")]
        guard isClassifying != nil else {
            lines.append("  served by another program, which tells nothing of QoS")
            return lines.joined(separator: "\n") + "\n"
        }
        lines += facts.map { "  \($0.name.padded(to: 12))\(Text.line($0.value))" }
        lines += [""] + classTable
        if !paths.isEmpty { lines += [""] + pathTable }
        return lines.joined(separator: "\n") + "\n"
    }

    private var facts: [(name: String, value: String)] {
        var facts = [("link", link?.words ?? "of no known rate, so nothing is held back here")]
        if let words = link?.followingWords { facts.append(("followed", words)) }
        let flows = "\(flowCount ?? 0) of \(flowCapacity ?? 0) flows known"
        let evicted = evictedFlows ?? 0
        facts.append((
            "classes",
            (isClassifying == true ? "told apart; " : "not told apart, all is token; ") + flows
                + (evicted > 0 ? ", \(evicted) forgotten to make room" : "")
        ))
        if isOverBudget == true {
            facts.append(("budget", "used up: all is background until it is there again"))
        } else if let count = overBudgetPackets, count > 0 {
            facts.append(("budget", "not used up now; it was for \(count) packets"))
        }
        if let localFileFault { facts.append(("local file", localFileFault)) }
        return facts
    }

    private var classTable: [String] {
        var table = TextTable(
            header: [
                "CLASS", "RATE", "SENT", "QUEUED", "WAIT P50", "P99", "LONGEST", "MARKED",
                "DROPPED EARLY", "NO ROOM",
            ])
        for one in classes {
            table.append([
                one.trafficClass, Text.rate(one.bitsPerSecond), Text.bytes(one.bytes),
                Self.queue(one.queuedPackets, one.queuedBytes),
                Text.time(one.waitP50, unit: 1e-6), Text.time(one.waitP99, unit: 1e-6),
                one.sojournMaxUs > 0 ? Text.time(seconds: one.sojournMaxUs / 1e6) : "-",
                String(one.marks), String(one.earlyDrops), String(one.overflowDrops),
            ])
        }
        return table.lines(indentation: 2)
    }

    private var pathTable: [String] {
        var table = TextTable(header: ["LINE TO", "RATE", "OF", "SENT", "QUEUED"])
        for path in paths {
            table.append([
                Text.line(path.name ?? String(path.peer.prefix(10))),
                Text.rate(path.link.wireBitsPerSecond ?? 0),
                Text.rate(UInt64(max(path.link.shapedBitsPerSecond, 0))),
                Text.bytes(path.link.wireBytes ?? 0),
                Self.queue(path.queuedPackets, path.queuedBytes),
            ])
        }
        return table.lines(indentation: 2)
    }

    private static func queue(_ packets: UInt64, _ bytes: UInt64) -> String {
        packets == 0 ? "-" : "\(packets) in \(Text.bytes(bytes))"
    }
}

extension QoSReport.Link {
    fileprivate var words: String {
        let shaped = UInt64(max(shapedBitsPerSecond, 0))
        let rate = currentBitsPerSecond ?? bitsPerSecond
        let line = "\(Text.rate(UInt64(max(rate, 0)))), held to \(Text.rate(shaped))"
        guard let wireBitsPerSecond else { return line + ", shared by all tenants" }
        let share = shaped > 0 ? Double(wireBitsPerSecond) / Double(shaped) * 100 : 0
        return line + ", \(Text.decimal(share, 0)) % used"
    }

    /// `nil` where the rate is always the same.
    fileprivate var followingWords: String? {
        guard let minimumBitsPerSecond else { return nil }
        let range = [minimumBitsPerSecond, bitsPerSecond].map { Text.rate(UInt64(max($0, 0))) }
        let words = "from \(range[0]) to \(range[1]); "
        guard let latestChange, let latestChangeAgeMs else {
            return words + "not changed yet, or no peer measures"
        }
        let reason =
            switch latestChange {
            case QoSStatus.Following.Cause.raised.rawValue: "raised, as nothing was late"
            case QoSStatus.Following.Cause.late.rawValue:
                "cut, as packets were \(Text.decimal(latestChangeLateMs ?? 0, 0)) ms late"
            case QoSStatus.Following.Cause.silence.rawValue: "cut, as no probe was answered"
            default: "on its way back to the whole rate, as little passes or nobody measures"
            }
        return words + "\(reason), \(Text.time(seconds: Double(latestChangeAgeMs) / 1e3)) ago"
    }
}
