import EgressScheduling
import PacketFormats
import TestSupport

/// A worker that sleeps until the scheduler says, and wakes late, over virtual time.
struct ShapedLink: ~Copyable {
    var queues: TenantQueues
    /// Monotonic nanoseconds.
    private(set) var now: UInt64 = 1_000_000_000
    /// How late a timer may fire.
    var timerSlackNanoseconds: UInt64 = 60_000
    private(set) var results: [Result] = []
    private var sources: [Source] = []
    private var nextTimes: [UInt64] = []
    private var slot: Int32 = 0
    private var waiting: [Int32: (source: Int, number: Int)] = [:]
    private var random = SeededGenerator(seed: 7)

    struct Source {
        var trafficClass: TrafficClass
        var tenant = 0
        var path: Int32 = -1
        var flow: UInt32
        var bytes = 1_498
        /// Between frames; `nil`: `window` of them always wait.
        var intervalNanoseconds: UInt64?
        var window = 8
        /// Halves its window when it is told to.
        var isResponsive = false
    }

    struct Result {
        var bytes = 0
        var signals = 0
        var delays: [UInt64] = []
        var isOrdered = true
        fileprivate var numberOut = 0
        fileprivate var numberIn = 0
        fileprivate var window = 0.0
        fileprivate var outstanding = 0
    }

    init(bitsPerSecond: Int64?, tenants: [TenantLimits] = [TenantLimits()]) {
        queues = TenantQueues(
            frameCapacity: 4_096, quantumBytes: 65_535, frameOverheadBytes: 600)
        for (tenant, limits) in tenants.enumerated() { queues.add(tenant: tenant, limits: limits) }
        queues.setLink(bitsPerSecond.map { LinkShape(bitsPerSecond: $0) }, now: now)
    }

    mutating func run(_ newSources: [Source], milliseconds: UInt64) {
        sources = newSources
        results = newSources.map { _ in Result() }
        nextTimes = newSources.indices.map { now + UInt64($0) * 777_777 }
        for index in sources.indices where sources[index].intervalNanoseconds == nil {
            results[index].window = Double(sources[index].window)
            refill(index)
        }
        let end = now + milliseconds * 1_000_000
        while now < end {
            admit()
            while let next = queues.dequeue(now: now) { note(next) }
            var wake = end
            if let eligible = queues.nextEligible {
                let slack = UInt64.random(in: 0...timerSlackNanoseconds, using: &random)
                wake = min(wake, max(eligible, now) + slack)
            }
            for index in sources.indices where sources[index].intervalNanoseconds != nil {
                wake = min(wake, nextTimes[index])
            }
            now = max(wake, now + 1)
        }
    }

    private mutating func admit() {
        for index in sources.indices {
            guard let interval = sources[index].intervalNanoseconds else { continue }
            while nextTimes[index] <= now {
                send(index, at: nextTimes[index])
                nextTimes[index] += interval
            }
        }
    }

    private mutating func refill(_ index: Int) {
        while results[index].outstanding < Int(results[index].window) { send(index, at: now) }
    }

    private mutating func send(_ index: Int, at time: UInt64) {
        let source = sources[index]
        slot = slot == .max ? 0 : slot + 1
        let isQueued = queues.enqueue(
            frame(
                slot, source.trafficClass, of: source.tenant, path: source.path,
                flow: source.flow, source.bytes), now: time)
        results[index].outstanding += 1
        guard isQueued else { return }
        waiting[slot] = (index, results[index].numberIn)
        results[index].numberIn += 1
    }

    private mutating func note(_ next: Departure) {
        guard let (index, number) = waiting.removeValue(forKey: next.slot) else { return }
        results[index].bytes += next.wireByteCount
        results[index].delays.append(next.sojournNanoseconds)
        if number != results[index].numberOut { results[index].isOrdered = false }
        results[index].numberOut = number + 1
        results[index].outstanding -= 1
        if next.isSignalled { results[index].signals += 1 }
        guard sources[index].intervalNanoseconds == nil else { return }
        if sources[index].isResponsive {
            let window = results[index].window
            results[index].window = next.isSignalled ? max(window / 2, 1) : window + 1 / window
        }
        refill(index)
    }

    /// Bits per second of the sources together.
    func rate(milliseconds: Int) -> Double {
        Double(results.reduce(0) { $0 + $1.bytes }) * 8_000 / Double(milliseconds)
    }

    /// Of the bytes of all.
    func share(_ index: Int) -> Double {
        Double(results[index].bytes) / Double(results.reduce(0) { $0 + $1.bytes })
    }

    /// In nanoseconds, of all sources of a class.
    func delay(of trafficClass: TrafficClass, percentile: Double) -> UInt64 {
        let delays = sources.indices.filter { sources[$0].trafficClass == trafficClass }
            .flatMap { results[$0].delays }.sorted()
        guard !delays.isEmpty else { return .max }
        return delays[min(delays.count - 1, Int(Double(delays.count) * percentile / 100))]
    }
}
