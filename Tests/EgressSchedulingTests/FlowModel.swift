/// RFC 8290's scheduler in arrays, as the text says it, with known flows before new ones and a
/// bound on what either is ahead.
struct FlowModel {
    struct Frame: Equatable {
        var slot: Int32
        var size: Int
    }
    struct Flow {
        var frames: [Frame] = []
        var credits = 0
        var byteCount: Int { frames.reduce(0) { $0 + $1.size } }
    }

    var flows: [Flow]
    var returningFlows: [Int] = []
    var newFlows: [Int] = []
    var oldFlows: [Int] = []
    /// Frames that fit.
    let capacity: Int
    let quantum: Int
    private var known: Set<Int> = []
    private var ahead = 0
    private var returningAhead = 0

    init(flows: [Flow], capacity: Int, quantum: Int) {
        self.flows = flows
        self.capacity = capacity
        self.quantum = quantum
    }

    var count: Int { flows.reduce(0) { $0 + $1.frames.count } }

    mutating func enqueue(_ frame: Frame, flow: Int) -> Bool {
        guard count < capacity else { return false }
        flows[flow].frames.append(frame)
        let isListed = [returningFlows, newFlows, oldFlows].contains { $0.contains(flow) }
        guard !isListed else { return true }
        flows[flow].credits = quantum
        if frame.size > quantum {
            oldFlows.append(flow)
        } else if known.contains(flow) {
            returningFlows.append(flow)
        } else {
            newFlows.append(flow)
        }
        return true
    }

    private enum List { case returning, new, old }

    private var next: List {
        if returningFlows.isEmpty && newFlows.isEmpty { return .old }
        if !oldFlows.isEmpty && ahead >= 2 * quantum { return .old }
        if returningFlows.isEmpty { return .new }
        return newFlows.isEmpty || returningAhead < 2 * quantum ? .returning : .new
    }

    private mutating func takeFirst(_ list: List) -> Int {
        switch list {
        case .returning: returningFlows.removeFirst()
        case .new: newFlows.removeFirst()
        case .old: oldFlows.removeFirst()
        }
    }

    mutating func dequeue() -> (slot: Int32, isSparse: Bool)? {
        guard count > 0 else { return nil }
        while true {
            let list = next
            let flow = list == .returning
                ? returningFlows[0] : list == .new ? newFlows[0] : oldFlows[0]
            if flows[flow].credits <= 0 {
                flows[flow].credits += quantum
                oldFlows.append(takeFirst(list))
            } else if flows[flow].frames.isEmpty {
                known.insert(takeFirst(list))
                if list != .old && !oldFlows.isEmpty { oldFlows.append(flow) }
            } else {
                let frame = flows[flow].frames.removeFirst()
                flows[flow].credits -= frame.size
                charge(frame.size, list)
                return (frame.slot, list != .old)
            }
        }
    }

    private mutating func charge(_ size: Int, _ list: List) {
        if list == .old {
            ahead = max(0, ahead - 2 * size)
        } else if !oldFlows.isEmpty {
            ahead = min(ahead + size, 2 * quantum)
        }
        if list == .new {
            returningAhead = max(0, returningAhead - 2 * size)
        } else if list == .returning && !newFlows.isEmpty {
            returningAhead = min(returningAhead + size, 2 * quantum)
        }
    }
}
