import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

/// Received messages that are still to be opened or delivered.
///
/// The socket is a FIFO, and most of the time goes into delivering bulk. So that a small packet can
/// pass a megabyte of bulk, a worker empties the socket first. Messages are opened in the order of
/// arrival, but where a small one is among them, the bulk before it is not delivered at once: its
/// packets go to the backlog kept here. A small packet joins the backlog, too, while any of its own
/// flow waits there, so that no flow's packets change their order.
///
/// Messages are numbered in the order of arrival, and lie in the places of a ``ReceiveBatch`` used
/// as a ring. Nothing is allocated after `init`.
struct ReceiveQueue: ~Copyable {
    let batch: ReceiveBatch
    /// The oldest message whose place is in use.
    private var first = 0
    private var firstUnopened = 0
    /// One past the newest message.
    private var end = 0
    /// Messages that are unopened and small.
    private var smallCount = 0
    /// Bytes of unopened messages and of packets in the backlog.
    private(set) var byteCount = 0

    /// The lane that each message came by, by its place in the batch.
    private var lanes: FixedTable<Int32>

    private var backlog: FixedTable<Packet>
    private var backlogFirst = 0
    private var backlogEnd = 0
    /// Packets in the backlog, counted by the hash of their flow.
    private var waiting: FixedTable<Int32>

    private struct Packet {
        var region: ByteRegion
        var message: Int
        var flow: UInt32
        var tunnel: TunnelID
    }

    /// - Parameter messageCapacity: Messages that fit; each takes ``EngineLimits/messageBytes``.
    /// - Parameter packetCapacity: Packets that fit into the backlog.
    init(
        messageCapacity: Int = EngineLimits.messagesHeld,
        packetCapacity: Int = EngineLimits.packetsHeld
    ) {
        batch = ReceiveBatch(
            messageCapacity: messageCapacity, bytesPerMessage: EngineLimits.messageBytes)
        let nothing = Packet(region: batch.region(0), message: 0, flow: 0, tunnel: 0)
        lanes = FixedTable(repeating: 0, count: messageCapacity)
        backlog = FixedTable(repeating: nothing, count: packetCapacity)
        waiting = FixedTable(repeating: 0, count: EngineLimits.waitingFlows)
    }

    // Written out: other files cannot take a table of private records apart.
    deinit {}

    /// Takes what the socket has, as far as there is room.
    ///
    /// - Returns: Number of messages taken.
    mutating func fill(from socket: UDPSocket, lane: Int = 0, limit: Int) -> Int {
        first = nextMessage ?? firstUnopened
        let place = index(of: end)
        let room = min(batch.messageCapacity - (end - first), batch.messageCapacity - place)
        guard room > 0 else { return 0 }
        let count = max(socket.receive(batch, at: place, limit: min(limit, room)), 0)
        for message in end..<end + count {
            byteCount += size(of: message)
            lanes[index(of: message)] = Int32(truncatingIfNeeded: lane)
            if isSmall(message) { smallCount += 1 }
        }
        end += count
        return count
    }

    /// Whether there is nothing to open and nothing to deliver.
    var isEmpty: Bool { firstUnopened == end && backlogIsEmpty }

    /// Messages that are still to be opened.
    var unopened: Range<Int> { firstUnopened..<end }

    /// Whether a small message is still to be opened.
    var hasSmall: Bool { smallCount > 0 }

    func isSmall(_ message: Int) -> Bool { size(of: message) <= EngineLimits.smallMessageBytes }

    /// Bytes of a message, as received.
    func size(of message: Int) -> Int { batch.region(index(of: message)).count }

    /// The message to open next, which counts as opened from now on.
    mutating func nextUnopened() -> Int? {
        guard firstUnopened < end else { return nil }
        let message = firstUnopened
        firstUnopened += 1
        byteCount -= size(of: message)
        if isSmall(message) { smallCount -= 1 }
        return message
    }

    /// What taking in the newest `count` messages costs a worker, in bytes that would cost as much.
    func cost(ofNewest count: Int) -> Int {
        (end - count..<end).reduce(0) { $0 + cost(of: $1) }
    }

    /// Bytes that would cost a worker as much as the message.
    func cost(of message: Int) -> Int {
        let byteCount = size(of: message)
        let segment = batch.segmentByteCount(index(of: message))
        let datagramCount = segment > 0 ? (byteCount + segment - 1) / segment : 1
        return byteCount + datagramCount * EngineLimits.datagramCostBytes
    }

    /// The lane that a message came by.
    func lane(of message: Int) -> Int { Int(lanes[index(of: message)]) }

    /// Where a message lies in the batch.
    func index(of message: Int) -> Int { message % batch.messageCapacity }

    var backlogIsEmpty: Bool { backlogFirst == backlogEnd }
    var backlogIsFull: Bool { backlogEnd - backlogFirst == backlog.count }

    /// Whether a packet of this flow must join the backlog. Flows may share an answer.
    func mustWait(flow: UInt32) -> Bool { waiting[Int(flow) % waiting.count] > 0 }

    /// Puts a packet at the end of the backlog, which must not be full. Its message keeps its place
    /// until the packet has been taken.
    mutating func append(
        _ region: ByteRegion, of message: Int, flow: UInt32, tunnel: TunnelID = 0
    ) {
        precondition(!backlogIsFull, "the backlog is full")
        backlog[backlogEnd % backlog.count] = Packet(
            region: region, message: message, flow: flow, tunnel: tunnel)
        backlogEnd += 1
        waiting[Int(flow) % waiting.count] += 1
        byteCount += region.count
    }

    /// Takes the oldest packet of the backlog. Its bytes stay until the next call of
    /// ``fill(from:limit:)``.
    mutating func next() -> (region: ByteRegion, tunnel: TunnelID)? {
        guard !backlogIsEmpty else { return nil }
        let packet = backlog[backlogFirst % backlog.count]
        backlogFirst += 1
        waiting[Int(packet.flow) % waiting.count] -= 1
        byteCount -= packet.region.count
        return (packet.region, packet.tunnel)
    }

    /// Takes the backlog's packets away from a tunnel that ends: its number may be another's before
    /// they are taken. They keep their places, and are ``nobody``'s.
    ///
    /// - Complexity: O(packets in the backlog).
    mutating func disown(_ tunnel: TunnelID) {
        for place in backlogFirst..<backlogEnd
        where backlog[place % backlog.count].tunnel == tunnel {
            backlog[place % backlog.count].tunnel = Self.nobody
        }
    }

    /// No tunnel's number.
    static let nobody: TunnelID = -1

    /// Bytes of the message that is to be delivered next; `nil` if there is none.
    var nextByteCount: Int? {
        if let nextMessage { return size(of: nextMessage) }
        return firstUnopened < end ? size(of: firstUnopened) : nil
    }

    /// The message that the oldest packet of the backlog came in.
    var nextMessage: Int? {
        backlogIsEmpty ? nil : backlog[backlogFirst % backlog.count].message
    }
}
