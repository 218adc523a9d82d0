import ArgumentParser
import PacketFormats
import WireGuardConfiguration

struct TraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract: "Show live streams of tokens with their phase and timings.",
        discussion: """
            Times are taken here, at this end of the tunnel: to the first chunk from the last byte \
            of the request, and between chunks of the answer, smoothed and at most. Below the \
            streams, what was measured of every class and service since the daemon began. \
            For example:

              sudo branchline trace
              sudo branchline trace wg0 --watch
              sudo branchline trace --all --tenant acme
              sudo branchline trace --json | jq '.[].flows[].inter_chunk_max_seconds'

            With --json: a list with one object per interface: interface, tenant on a gateway, \
            flows with \(FlowObject.jsonHelp); and measures by class, service and peer: \
            traffic_class, service, peer, name, requests, streams, chunks, stream_bytes, stalls \
            (gaps of more than a second), retransmissions, tokens (of usage records, where they \
            may be read), first_chunk and inter_chunk, each with bounds, counts, sum_seconds, \
            p50_seconds and p99_seconds. What is not known is left out.
            """)

    @OptionGroup var scope: TunnelScope

    @Flag(help: "Show every flow, not only streams of tokens.")
    var all = false

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Show it again every second until Ctrl-C.")
    var watch = false

    func run() throws {
        repeat {
            let text = try screen()
            try Console.write(watch && !json ? LiveView.clearScreen + text : text)
            if watch { LiveView.pause() }
        } while watch
    }

    private func screen() throws -> String {
        let query = FlowQuery(streamsOnly: !all)
        let reports = try scope.collect { tunnel in
            TraceReport(
                tunnel, flows: try tunnel.socket.flows(query),
                status: try tunnel.socket.qosStatus(), isOfAllFlows: all)
        }
        if json { return try InterfaceReport.json(reports) + "\n" }
        if reports.isEmpty { return TunnelScope.nothingIsUp }
        return Text.plain(reports.map(\.text).joined(separator: "\n"))
    }
}

/// What is printed of one tunnel's flows.
struct TraceReport: Encodable {
    let interface: String
    let tenant: String?
    let flows: [FlowObject]
    let measures: [MeasureReport]
    private let reports: [FlowReport]?
    private let summary: [MeasureReport]
    private let isOfAllFlows: Bool
    private let isFollowing: Bool

    private enum CodingKeys: String, CodingKey { case interface, tenant, flows, measures }

    /// - Parameter flows: `nil` where a program serves the interface that tells nothing of them.
    init(
        _ tunnel: TunnelScope.Tunnel, flows: [FlowReport]?, status: QoSStatus?,
        isOfAllFlows: Bool
    ) {
        interface = tunnel.socket.name
        tenant = tunnel.tenant
        isFollowing = status?.isClassifying ?? true
        // Those that were followed before tell nothing of now.
        let flows = isFollowing ? flows : flows.map { _ in [] }
        reports = flows
        self.flows = (flows ?? []).map { FlowObject($0, names: tunnel.peerNames) }
        let measures = status?.measures ?? []
        self.measures = measures.map { MeasureReport($0, names: tunnel.peerNames) }
        summary = MeasureReport.summary(measures)
        self.isOfAllFlows = isOfAllFlows
    }
}

// MARK: - Text

extension TraceReport {
    var text: String {
        var lines = [Text.line((tenant.map { "tenant \($0), " } ?? "") + "interface \(interface)")]
        guard let reports else {
            lines.append("  served by another program, which tells nothing of flows")
            return lines.joined(separator: "\n") + "\n"
        }
        if !isFollowing {
            lines.append("  classes are not told apart here, so flows are not followed")
        } else if reports.isEmpty {
            lines.append(
                isOfAllFlows
                    ? "  no flow is known" : "  no stream of tokens now; --all shows every flow")
        } else {
            lines += flowTable(reports)
        }
        if !summary.isEmpty { lines += [""] + summaryTable }
        return lines.joined(separator: "\n") + "\n"
    }

    private func flowTable(_ reports: [FlowReport]) -> [String] {
        var table = TextTable(
            header: [
                isOfAllFlows ? "FLOW" : "STREAM", "SERVICE", "CLASS", "PHASE", "CHUNKS",
                "FIRST CHUNK", "BETWEEN", "LONGEST", "SENT AGAIN",
            ])
        for flow in reports.prefix(Self.shownMax) {
            table.append([
                flow.ends, flow.service.map(Text.line) ?? "-",
                flow.trafficClass.name + (flow.limit == nil ? "" : "*"), flow.phase.rawValue,
                String(flow.chunks), Text.time(nanoseconds: flow.firstChunkNanoseconds),
                Text.time(nanoseconds: flow.interChunkNanoseconds),
                Text.time(nanoseconds: flow.interChunkMaxNanoseconds),
                String(flow.retransmissions),
            ])
        }
        var lines = table.lines(indentation: 2)
        if reports.count > Self.shownMax {
            lines.append("  and \(reports.count - Self.shownMax) more; --json has all")
        }
        if reports.prefix(Self.shownMax).contains(where: { $0.limit != nil }) {
            lines.append("  * held down by a ceiling or a budget; see `branchline qos explain`")
        }
        return lines
    }

    private var summaryTable: [String] {
        var table = TextTable(
            header: [
                "CLASS", "SERVICE", "REQUESTS", "STREAMS", "CHUNKS", "FIRST CHUNK P50", "P99",
                "BETWEEN P50", "P99", "STALLS", "SENT AGAIN",
            ])
        for one in summary {
            table.append([
                one.trafficClass, one.service.map(Text.line) ?? "-", String(one.requests),
                String(one.streams), String(one.chunks),
                Text.time(one.firstChunk.histogram.quantile(0.5)),
                Text.time(one.firstChunk.histogram.quantile(0.99)),
                Text.time(one.interChunk.histogram.quantile(0.5)),
                Text.time(one.interChunk.histogram.quantile(0.99)),
                String(one.stalls), String(one.retransmissions),
            ])
        }
        return table.lines(indentation: 2)
    }

    /// Rows of a screen.
    private static let shownMax = 50
}
