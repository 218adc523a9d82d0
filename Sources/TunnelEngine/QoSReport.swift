import Cryptography
import EgressScheduling
import InferenceTraffic
import LinuxNetworking
import PacketFormats
import Telemetry
import WireGuardConfiguration
import WireGuardProtocol

/// What a worker is asked about a tunnel.
enum ReportRequest: Sendable {
    case status
    case flows(FlowFilter)
}

/// What one worker says of a tunnel: queues and flows are its own, nobody else may look at them.
struct WorkerReport: Sendable {
    struct Queue: Sendable {
        var packets = 0
        var bytes = 0
    }

    struct Path: Sendable {
        let peer: PeerID
        let queue: Queue
        let wireBytes: UInt64
    }

    /// Of each class, in the order of service.
    var queues: [Queue] = []
    var paths: [Path] = []
    /// Of all tunnels, by this worker.
    var linkWireBytes: UInt64 = 0
    var flowCount = 0
    var flowCapacity = 0
    var evictedFlows: UInt64 = 0
    var measures: [StreamMeasure] = []
    var flows: [FlowRecord] = []
}

/// A question to all workers, until each has answered or ended.
struct PendingReport {
    var missing: Int
    var reports: [WorkerReport] = []
    let finish: ([WorkerReport]) -> Void
}

extension Tunnel {
    /// Asks all workers.
    ///
    /// - Parameter finish: Called once, later: with what all workers said, or with less of it when
    ///   tunnel or workers end.
    func ask(_ request: ReportRequest, finish: @escaping ([WorkerReport]) -> Void) {
        let number = nextReport
        nextReport &+= 1
        pendingReports[number] = PendingReport(missing: engine.workers.count, finish: finish)
        postToAll([.report(number, request)])
    }

    func take(_ report: WorkerReport, number: UInt32) {
        guard var pending = pendingReports[number] else { return }
        pending.reports.append(report)
        pending.missing -= 1
        guard pending.missing == 0 else { return pendingReports[number] = pending }
        pendingReports[number] = nil
        pending.finish(pending.reports)
    }

    /// Leaves nobody waiting for workers that have ended.
    func finishReports() {
        let pending = pendingReports.sorted { $0.key < $1.key }
        pendingReports = [:]
        for (_, report) in pending { report.finish(report.reports) }
    }
}

// MARK: - What the reports come to

extension Tunnel {
    func qosStatus(_ reports: [WorkerReport]) -> QoSStatus {
        var status = QoSStatus()
        status.isClassifying = qos.isClassifying
        status.link = engine.link
        status.following = engine.following(now: Clock.monotonicNanoseconds())
        status.isLinkShared = engine.isShared && engine.link != nil
        status.isOverBudget = budget?.isExceeded(now: Clock.monotonicNanoseconds()) ?? false
        for set in counters { status.overBudgetPackets &+= set.events[.overBudget] }
        status.classes = TrafficClass.allCases.map { classStatus($0, reports) }
        for report in reports {
            // Of a shared line that would be the bytes of other tenants.
            let isOwn = status.link != nil && !status.isLinkShared
            status.linkWireBytes &+= isOwn ? report.linkWireBytes : 0
            status.flowCount += report.flowCount
            status.flowCapacity += report.flowCapacity
            status.evictedFlows &+= report.evictedFlows
        }
        status.paths = pathStatuses(reports)
        status.measures = measures(reports)
        return status
    }

    private func classStatus(
        _ trafficClass: TrafficClass, _ reports: [WorkerReport]
    ) -> QoSStatus.ClassStatus {
        var status = QoSStatus.ClassStatus(trafficClass: trafficClass)
        for set in counters { set.classes.report(into: &status) }
        for report in reports where Int(trafficClass.rawValue) < report.queues.count {
            let queue = report.queues[Int(trafficClass.rawValue)]
            status.queuedPackets &+= UInt64(queue.packets)
            status.queuedBytes &+= UInt64(queue.bytes)
        }
        return status
    }

    private func pathStatuses(_ reports: [WorkerReport]) -> [QoSStatus.PathStatus] {
        let paths = Dictionary(grouping: reports.flatMap(\.paths), by: \.peer)
        return peers.keys.sorted().compactMap { id in
            guard let key = peers[id]?.publicKey, let link = qos.peers[key]?.link else {
                return nil
            }
            var status = QoSStatus.PathStatus(peer: key, link: link)
            for path in paths[id] ?? [] {
                status.queuedPackets &+= UInt64(path.queue.packets)
                status.queuedBytes &+= UInt64(path.queue.bytes)
                status.wireBytes &+= path.wireBytes
            }
            return status
        }
    }

    /// Adds up what several workers saw of the same.
    private func measures(_ reports: [WorkerReport]) -> [QoSStatus.Measure] {
        struct Subject: Hashable {
            let trafficClass: TrafficClass
            let service: String?
            let peer: PeerID
        }
        var order: [Subject] = []
        var sums: [Subject: QoSStatus.Measure] = [:]
        for measure in reports.flatMap(\.measures) {
            let peer = peers[measure.peer] == nil ? -1 : measure.peer
            let subject = Subject(
                trafficClass: measure.trafficClass, service: measure.service, peer: peer)
            if sums[subject] == nil {
                order.append(subject)
                var sum = QoSStatus.Measure(trafficClass: measure.trafficClass)
                sum.service = measure.service
                sum.peer = peers[peer]?.publicKey
                sums[subject] = sum
            }
            sums[subject]?.add(measure)
        }
        return order.compactMap { sums[$0] }
    }

    /// The flows that moved last.
    func flowReports(_ reports: [WorkerReport]) -> [FlowReport] {
        let records = reports.flatMap(\.flows).sorted { $0.idleNanoseconds < $1.idleNanoseconds }
        let isOverBudget = budget?.isExceeded(now: Clock.monotonicNanoseconds()) ?? false
        return records.prefix(FlowQuery.flowsMax).map { record in
            var report = FlowReport(record)
            report.peer = peers[record.peer]?.publicKey
            if isOverBudget, record.trafficClass < .background {
                report.trafficClass = .background
                report.limit = "budget"
            }
            return report
        }
    }
}

extension QoSStatus.Measure {
    fileprivate mutating func add(_ measure: StreamMeasure) {
        requests &+= measure.requests
        streams &+= measure.streams
        chunks &+= measure.chunks
        streamBytes &+= measure.streamBytes
        stalls &+= measure.stalls
        retransmissions &+= measure.retransmissions
        tokens &+= measure.tokens
        Self.add(measure.firstChunkCounts, to: &firstChunkCounts)
        firstChunkSumSeconds += Double(measure.firstChunkSumNanoseconds) / 1e9
        Self.add(measure.interChunkCounts, to: &interChunkCounts)
        interChunkSumSeconds += Double(measure.interChunkSumNanoseconds) / 1e9
    }

    private static func add(_ counts: [UInt64], to sums: inout [UInt64]) {
        while sums.count < counts.count { sums.append(0) }
        for (index, count) in counts.enumerated() { sums[index] &+= count }
    }
}

extension FlowFilter {
    init(_ query: FlowQuery) {
        self.init(
            address: query.address, port: query.port, otherAddress: query.otherAddress,
            otherPort: query.otherPort, streamsOnly: query.streamsOnly)
    }
}

extension FlowReport {
    fileprivate init(_ record: FlowRecord) {
        self.init(
            client: record.client, clientPort: record.clientPort, server: record.server,
            serverPort: record.serverPort, protocolNumber: record.protocolNumber)
        trafficClass = record.trafficClass
        evidence = Evidence(record.evidence)
        confidence = record.confidence
        service = record.service
        phase = Phase(record.phase)
        isTokenStream = record.isTokenStream
        limit = record.isLimited ? "ceiling" : nil
        detail = record.detail
        ageNanoseconds = record.ageNanoseconds
        idleNanoseconds = record.idleNanoseconds
        bytesOut = record.bytesOut
        bytesIn = record.bytesIn
        requests = record.requests
        chunks = record.chunks
        stalls = record.stalls
        retransmissions = record.retransmissions
        firstChunkNanoseconds = record.firstChunkNanoseconds
        interChunkNanoseconds = record.interChunkNanoseconds
        interChunkMaxNanoseconds = record.interChunkMaxNanoseconds
    }
}

extension FlowReport.Evidence {
    fileprivate init(_ evidence: FlowEvidence) {
        switch evidence {
        case .policy: self = .policy
        case .mark: self = .mark
        case .http1: self = .http1
        case .http2: self = .http2
        case .grpc: self = .grpc
        case .tls: self = .tls
        case .behaviour: self = .behaviour
        case .beginning: self = .beginning
        case .size: self = .size
        }
    }
}

extension FlowReport.Phase {
    fileprivate init(_ phase: FlowPhase) {
        switch phase {
        case .request: self = .request
        case .waiting: self = .waiting
        case .streaming: self = .streaming
        case .idle: self = .idle
        }
    }
}
