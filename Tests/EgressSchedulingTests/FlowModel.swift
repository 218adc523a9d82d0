/// RFC 8290's scheduler in arrays, as the text says it.
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
    var newFlows: [Int] = []
    var oldFlows: [Int] = []
    /// Frames that fit.
    let capacity: Int
    let quantum: Int

    var count: Int { flows.reduce(0) { $0 + $1.frames.count } }

    mutating func enqueue(_ frame: Frame, flow: Int) -> Bool {
        guard count < capacity else { return false }
        flows[flow].frames.append(frame)
        if !newFlows.contains(flow) && !oldFlows.contains(flow) {
            flows[flow].credits = quantum
            if frame.size <= quantum { newFlows.append(flow) } else { oldFlows.append(flow) }
        }
        return true
    }

    mutating func dequeue() -> (slot: Int32, isSparse: Bool)? {
        guard count > 0 else { return nil }
        while true {
            let isNew = !newFlows.isEmpty
            let flow = isNew ? newFlows[0] : oldFlows[0]
            if flows[flow].credits <= 0 {
                flows[flow].credits += quantum
                if isNew { newFlows.removeFirst() } else { oldFlows.removeFirst() }
                oldFlows.append(flow)
            } else if flows[flow].frames.isEmpty {
                if isNew {
                    newFlows.removeFirst()
                    if !oldFlows.isEmpty { oldFlows.append(flow) }
                } else {
                    oldFlows.removeFirst()
                }
            } else {
                let frame = flows[flow].frames.removeFirst()
                flows[flow].credits -= frame.size
                return (frame.slot, isNew)
            }
        }
    }
}
