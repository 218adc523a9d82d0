import PacketFormats
import TestSupport

@testable import WireGuardProtocol

/// A monitor and the path that it measures, in virtual time; the far end answers what arrives.
struct SimulatedPath {
    var monitor: PathMonitor
    var now: UInt64 = 1_000 * second
    /// UDP payload bytes of the longest datagram that passes.
    var sizeMax = Int.max
    /// One way, in nanoseconds, without the time that bytes take.
    var delay: UInt64 = 10 * millisecond
    /// Of the way there, in nanoseconds.
    var delayPerByte: UInt64 = 0
    /// Each way.
    var lossPercent = 0
    var isAnswering = true
    /// Bytes of traffic each second, besides probes.
    var bytesPerSecond: UInt64 = 0
    /// How far the far end's clock is ahead, in microseconds.
    var clockAhead: UInt64 = 777_000_000_000
    /// Makes of an answer another one.
    var alter: (inout PathAnswer) -> Void = { _ in }

    private(set) var probes: [(sentAt: UInt64, probe: PathProbe)] = []
    /// What ``PathMonitor/search`` had for current, each time that it changed.
    private(set) var currents: [(from: UInt64, size: Int)] = []
    private var flying: [(at: UInt64, answer: PathAnswer)] = []
    private var lookedAt: UInt64 = 0
    private var traffic: UInt64 = 0
    private var sentCount: UInt64 = 0
    private var arrivedCount: UInt64 = 0
    private var random: SeededGenerator

    init(
        ipOverhead: Int = 28, packetMax: Int = 1_420, pace: UInt64 = PathMonitor.activeInterval,
        seed: UInt64 = 1
    ) {
        random = SeededGenerator(seed: seed)
        monitor = PathMonitor(
            ipOverhead: ipOverhead, packetMax: packetMax, firstNumber: .max - 3,
            activeInterval: pace, now: now)
        noteCurrent()
    }

    var current: Int { monitor.search.current }
    var estimate: PathEstimate { monitor.estimate }

    /// Lets time pass, a millisecond at least between two looks, as the device does.
    mutating func run(_ nanoseconds: UInt64) {
        let end = now + nanoseconds
        while true {
            let due = max(monitor.nextDeadline, lookedAt + millisecond, now)
            let next = min(due, flying.map(\.at).min() ?? .max)
            guard next <= end else { break }
            pass(to: next)
            if let place = flying.indices.first(where: { flying[$0].at <= now }) {
                let answer = flying.remove(at: place).answer
                _ = monitor.take(answer, arrivedAt: now / 1_000, now: now)
            }
            if monitor.nextDeadline <= now, now >= lookedAt + millisecond { look() }
            noteCurrent()
        }
        pass(to: end)
    }

    /// The share of some time that ``current`` was less than a size.
    func share(below size: Int, since start: UInt64) -> Double {
        var total: UInt64 = 0
        for (index, entry) in currents.enumerated() where entry.size < size {
            let until = index + 1 < currents.count ? currents[index + 1].from : now
            if until > start { total += until - max(entry.from, start) }
        }
        return Double(total) / Double(now - start)
    }

    func probes(since start: UInt64) -> [PathProbe] {
        probes.filter { $0.sentAt >= start }.map(\.probe)
    }

    private mutating func pass(to time: UInt64) {
        traffic += (time - now) / 1_000 * bytesPerSecond / 1_000_000
        now = time
    }

    private mutating func look() {
        lookedAt = now
        for probe in monitor.advance(now: now, traffic: traffic) {
            probes.append((now, probe))
            send(probe)
        }
    }

    private mutating func send(_ probe: PathProbe) {
        let size = max(48, probe.datagramByteCount)
        sentCount += 1
        guard isAnswering, size <= sizeMax, !random.chance(percent: lossPercent) else { return }
        arrivedCount += 1
        let arrival = now + delay + UInt64(size) * delayPerByte
        var answer = PathAnswer(
            number: probe.number, sentAt: now / 1_000, receivedAt: clockAhead + arrival / 1_000,
            datagramByteCount: UInt16(clamping: size), session: 5, receivedCount: arrivedCount,
            expectedCount: sentCount)
        guard !random.chance(percent: lossPercent) else { return }
        alter(&answer)
        flying.append((arrival + delay, answer))
    }

    private mutating func noteCurrent() {
        if currents.last?.size != current { currents.append((now, current)) }
    }
}
