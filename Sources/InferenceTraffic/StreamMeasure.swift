public import PacketFormats

/// What was seen of requests and their answers, by class, service and peer.
///
/// Histograms have the boundaries of OpenTelemetry's generative AI metrics; the last count is of
/// what lies above all of them.
///
/// Source: OpenTelemetry, Semantic conventions for generative AI client metrics.
public struct StreamMeasure: Sendable, Hashable {
    public var trafficClass: TrafficClass
    /// `nil`: of no named service, or of one that the policy has no more.
    public var service: String?
    /// -1: unknown, or of all that found no room of their own.
    public var peer: Int32
    public var requests: UInt64 = 0
    public var streams: UInt64 = 0
    public var chunks: UInt64 = 0
    public var streamBytes: UInt64 = 0
    /// Gaps of a stream longer than a second.
    public var stalls: UInt64 = 0
    public var retransmissions: UInt64 = 0
    /// From usage records; 0 where none may be read.
    public var tokens: UInt64 = 0
    /// From the last byte of a request to the first of its answer, by
    /// ``timeToFirstChunkBoundsMicroseconds``.
    public var firstChunkCounts: [UInt64] = []
    public var firstChunkSumNanoseconds: UInt64 = 0
    /// Between chunks, by ``timePerOutputChunkBoundsMicroseconds``.
    public var interChunkCounts: [UInt64] = []
    public var interChunkSumNanoseconds: UInt64 = 0

    public init(trafficClass: TrafficClass, service: String? = nil, peer: Int32 = -1) {
        self.trafficClass = trafficClass
        self.service = service
        self.peer = peer
    }

    /// Upper bounds of gen_ai.client.operation.time_to_first_chunk.
    public static var timeToFirstChunkBoundsMicroseconds: [Int] {
        [
            1_000, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 250_000, 500_000,
            750_000, 1_000_000, 2_500_000, 5_000_000, 7_500_000, 10_000_000,
        ]
    }

    /// Upper bounds of gen_ai.client.operation.time_per_output_chunk.
    public static var timePerOutputChunkBoundsMicroseconds: [Int] {
        [
            10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 500_000,
            750_000, 1_000_000, 2_500_000,
        ]
    }
}
