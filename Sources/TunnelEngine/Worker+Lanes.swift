import EgressScheduling
import LinuxNetworking

/// A socket of a worker, which the kernel gives the datagrams of some tunnels only.
struct Lane {
    let socket: UDPSocket
    /// Of what waits in the socket.
    var controller: SojournController
    /// A packet of a bulk run is to be marked or dropped.
    var owesSignal = false
    /// What the lane may take in before another one's turn; see ``EngineLimits/laneQuantumBytes``.
    var credit = 0
    /// Its turns, relative to other lanes': the tunnels' weights together.
    var weight = 1
    /// Recent messages' cost, to know how many to ask for.
    var meanCost = EngineLimits.datagramCostBytes

    init(_ socket: UDPSocket, _ controller: SojournController) {
        self.socket = socket
        self.controller = controller
    }
}

/// Which sockets a worker reads, and how much of each.
extension Worker {
    /// Takes messages out of the sockets.
    mutating func fillReceiveQueue() {
        guard let sources else {
            guard !lanes.isEmpty else { return }
            return fill(from: 0, limit: EngineLimits.messagesPerReceive)
        }
        // What is taken in is first come, first served: the rest waits in its own lane.
        guard received.byteCount < EngineLimits.heldBytesWithLanes else { return }
        let readyCount = sources.sockets.wait(timeoutNanoseconds: 0)
        if readyCount == 1 {
            let lane = Int(truncatingIfNeeded: sources.sockets.token(at: 0) & 0xffff_ffff)
            lanes[lane].credit = 0
            return fill(from: lane, limit: EngineLimits.messagesPerReceive)
        }
        // The kernel names the ready ones in turns.
        for index in 0..<readyCount {
            let lane = Int(truncatingIfNeeded: sources.sockets.token(at: index) & 0xffff_ffff)
            let quantum = EngineLimits.laneQuantumBytes * lanes[lane].weight
            lanes[lane].credit = min(lanes[lane].credit + quantum, quantum)
            guard lanes[lane].credit > 0 else { continue }
            let wanted = lanes[lane].credit / lanes[lane].meanCost
            fill(from: lane, limit: min(max(wanted, 1), EngineLimits.messagesPerReceive))
        }
    }

    private mutating func fill(from lane: Int, limit: Int) {
        let messageCount = received.fill(from: lanes[lane].socket, lane: lane, limit: limit)
        guard messageCount > 0 else { return }
        count(.socketReceives, messageCount)
        guard sources != nil else { return }
        let cost = received.cost(ofNewest: messageCount)
        lanes[lane].credit -= cost
        lanes[lane].meanCost = max((lanes[lane].meanCost * 3 + cost / messageCount) / 4, 1)
    }

    /// Uses these sockets from now on, and none of those before.
    mutating func use(_ sockets: [UDPSocket]) {
        let watched = sources?.sockets ?? loop
        for lane in lanes { try? watched.remove(lane.socket.fileDescriptor) }
        sends.removeAll()
        run = DatagramRun()
        isSendBlocked = false
        lanes = sockets.map { Lane($0, receiveQueue) }
        for (index, lane) in lanes.enumerated() {
            try? watched.add(
                lane.socket.fileDescriptor, token: Self.laneToken | UInt64(index),
                events: .readable)
        }
        weighLanes()
    }

    /// Gives each lane the turns of its tunnels.
    mutating func weighLanes() {
        guard sources != nil else { return }
        for index in lanes.indices { lanes[index].weight = 0 }
        for number in tunnels.numbers where tunnels[number].port.lane < lanes.count {
            lanes[tunnels[number].port.lane].weight += tunnels[number].weight
        }
        for index in lanes.indices {
            lanes[index].weight = min(max(lanes[index].weight, 1), EngineLimits.laneWeightMax)
        }
    }
}
