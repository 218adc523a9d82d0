import Cryptography
import PacketFormats
import WireGuardConfiguration

/// What was seen of requests and their answers, for one class, service and peer, or for many peers.
struct MeasureReport: Encodable {
    let trafficClass: String
    let service: String?
    let peer: String?
    let name: String?
    var requests: UInt64
    var streams: UInt64
    var chunks: UInt64
    var streamBytes: UInt64
    var stalls: UInt64
    var retransmissions: UInt64
    var tokens: UInt64
    var firstChunk: Times
    var interChunk: Times

    /// Seconds, as a histogram.
    struct Times: Encodable {
        var histogram: Histogram
        var sumSeconds: Double

        private enum CodingKeys: String, CodingKey {
            case bounds, counts, sumSeconds, p50Seconds, p99Seconds
        }

        func encode(to encoder: any Encoder) throws {
            var object = encoder.container(keyedBy: CodingKeys.self)
            try object.encode(histogram.bounds, forKey: .bounds)
            try object.encode(histogram.counts, forKey: .counts)
            try object.encode(sumSeconds, forKey: .sumSeconds)
            try object.encodeIfPresent(histogram.quantile(0.5)?.value, forKey: .p50Seconds)
            try object.encodeIfPresent(histogram.quantile(0.99)?.value, forKey: .p99Seconds)
        }
    }

    /// - Parameter names: Of peers, by key in base64; `nil` leaves the peer out.
    init(_ measure: QoSStatus.Measure, names: [String: String]?) {
        trafficClass = measure.trafficClass.name
        service = measure.service
        peer = names == nil ? nil : measure.peer?.base64
        name = measure.peer.flatMap { names?[$0.base64] }
        requests = measure.requests
        streams = measure.streams
        chunks = measure.chunks
        streamBytes = measure.streamBytes
        stalls = measure.stalls
        retransmissions = measure.retransmissions
        tokens = measure.tokens
        firstChunk = Times(
            histogram: Histogram(
                counts: measure.firstChunkCounts, bounds: QoSStatus.timeToFirstChunkBounds),
            sumSeconds: measure.firstChunkSumSeconds)
        interChunk = Times(
            histogram: Histogram(
                counts: measure.interChunkCounts, bounds: QoSStatus.timePerOutputChunkBounds),
            sumSeconds: measure.interChunkSumSeconds)
    }

    /// Of all peers, one for each class and service, in the order of service.
    static func summary(_ measures: [QoSStatus.Measure]) -> [MeasureReport] {
        struct Key: Hashable {
            let trafficClass: TrafficClass
            let service: String?
        }
        var sums: [Key: MeasureReport] = [:]
        for measure in measures {
            let one = MeasureReport(measure, names: nil)
            let key = Key(trafficClass: measure.trafficClass, service: measure.service)
            if var sum = sums[key] {
                sum.add(one)
                sums[key] = sum
            } else {
                sums[key] = one
            }
        }
        return sums.sorted {
            ($0.key.trafficClass, $0.key.service ?? "")
                < ($1.key.trafficClass, $1.key.service ?? "")
        }.map(\.value)
    }

    private mutating func add(_ other: MeasureReport) {
        requests &+= other.requests
        streams &+= other.streams
        chunks &+= other.chunks
        streamBytes &+= other.streamBytes
        stalls &+= other.stalls
        retransmissions &+= other.retransmissions
        tokens &+= other.tokens
        firstChunk.add(other.firstChunk)
        interChunk.add(other.interChunk)
    }
}

extension MeasureReport.Times {
    fileprivate mutating func add(_ other: MeasureReport.Times) {
        histogram = histogram + other.histogram
        sumSeconds += other.sumSeconds
    }
}
