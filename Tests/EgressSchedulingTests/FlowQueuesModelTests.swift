import EgressScheduling
import TestSupport
import Testing

/// RFC 8290's scheduler in arrays, as the text says it.
private struct Model {
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

@Suite struct FlowQueuesModelTests {
    @Test(arguments: 0..<30)
    func everyStepEqualsTheModels(seed: UInt64) {
        print("flow queues seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let flowCount = 1 << Int.random(in: 0...4, using: &random)
        let capacity = Int.random(in: 1...60, using: &random)
        let quantum = [1, 300, 1_514, 9_000].randomElement(using: &random) ?? 1
        var model = Model(
            flows: .init(repeating: .init(), count: flowCount), capacity: capacity,
            quantum: quantum)
        var queues = FlowQueues(
            flowCount: flowCount, frameCapacity: capacity, quantumBytes: quantum)
        var slot: Int32 = 0
        for step in 0..<4_000 {
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<10:
                slot += 1
                let hash = UInt32(truncatingIfNeeded: random.next())
                let size = quantum == 1 ? 3 : Int.random(in: 0...20_000, using: &random)
                let expected = model.enqueue(
                    .init(slot: slot, size: size), flow: Int(hash) & (flowCount - 1))
                let isAdded = queues.enqueue(slot: slot, flowHash: hash, byteCount: size, now: 0)
                #expect(isAdded == expected, "seed \(seed), step \(step)")
            case 10..<19:
                let expected = model.dequeue()
                let next = queues.dequeue(now: 0)
                #expect(next?.slot == expected?.slot, "seed \(seed), step \(step)")
                #expect(next?.isSparse == expected?.isSparse, "seed \(seed), step \(step)")
            default:
                let longest = model.flows.map(\.byteCount).max() ?? 0
                guard let dropped = queues.dropFromLongest() else {
                    #expect(model.count == 0, "seed \(seed), step \(step)")
                    continue
                }
                let flow = model.flows.firstIndex { $0.frames.first?.slot == dropped }
                guard let flow else {
                    Issue.record("seed \(seed), step \(step): not the oldest of any flow")
                    return
                }
                #expect(model.flows[flow].byteCount == longest, "seed \(seed), step \(step)")
                model.flows[flow].frames.removeFirst()
            }
            let bytes = model.flows.reduce(0) { $0 + $1.byteCount }
            let totals = [queues.count, queues.byteCount]
            #expect(totals == [model.count, bytes], "seed \(seed), step \(step)")
        }
    }
}
