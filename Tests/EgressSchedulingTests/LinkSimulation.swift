import EgressScheduling

/// A link of one rate that sends what `TenantQueues` gives it, over virtual time.
struct LinkSimulation: ~Copyable {
    var queues: TenantQueues
    /// Monotonic nanoseconds.
    private(set) var now: UInt64 = 1_000_000_000
    /// Bytes that left, by tenant.
    private(set) var sent: [Int: Int] = [:]
    /// Time in which frames waited and none left.
    private(set) var idleNanoseconds: UInt64 = 0
    let bitsPerSecond: Int
    private var slot: Int32 = 0
    /// The sender and flow of each frame that waits.
    private var waiting: [Int32: (Sender, Int)] = [:]

    init(bitsPerSecond: Int, quantumBytes: Int = 65_535, frameCapacity: Int = 4_096) {
        self.bitsPerSecond = bitsPerSecond
        queues = TenantQueues(frameCapacity: frameCapacity, quantumBytes: quantumBytes)
    }

    /// Who sends, and in frames of which size.
    struct Sender {
        var tenant: Int
        var flows = 1
        var frameBytes = 1_500
        /// Frames of each flow that always wait.
        var window = 4
    }

    /// Runs while all senders keep their windows full.
    mutating func run(_ senders: [Sender], milliseconds: UInt64) {
        let end = now + milliseconds * 1_000_000
        for sender in senders {
            for flow in 0..<sender.flows {
                for _ in 0..<sender.window { send(sender, flow: flow) }
            }
        }
        while now < end {
            guard let next = queues.dequeue(now: now) else {
                let time = min(queues.nextEligible ?? end, end)
                idleNanoseconds += max(time, now + 1) - now
                now = max(time, now + 1)
                continue
            }
            guard let (sender, flow) = waiting.removeValue(forKey: next.slot) else { continue }
            sent[next.tenant, default: 0] += sender.frameBytes
            now += UInt64(sender.frameBytes * 8 * 1_000_000_000 / bitsPerSecond)
            send(sender, flow: flow)
        }
    }

    private mutating func send(_ sender: Sender, flow: Int) {
        slot &+= 1
        let isQueued = queues.enqueue(
            bulk(slot, of: sender.tenant, flow: UInt32(flow), sender.frameBytes), now: now)
        if isQueued { waiting[slot] = (sender, flow) }
    }

    /// Stops all senders: what waits is forgotten.
    mutating func clear() {
        while queues.dropFromLongest() != nil {}
        waiting = [:]
        sent = [:]
        idleNanoseconds = 0
    }

    /// Bits per second that a tenant got in `milliseconds`.
    func rate(of tenant: Int, milliseconds: Int) -> Double {
        Double(sent[tenant] ?? 0) * 8_000 / Double(milliseconds)
    }
}

/// Jain's index of fairness: 1 if all are equal, 1/n if one has everything.
func jainIndex(_ values: [Double]) -> Double {
    let sum = values.reduce(0, +)
    let squares = values.reduce(0) { $0 + $1 * $1 }
    return squares == 0 ? 1 : sum * sum / (Double(values.count) * squares)
}
