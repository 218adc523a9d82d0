import Cryptography
import EgressScheduling
import InferenceTraffic
import LinuxNetworking
import PacketFormats
import PacketMemory
import Telemetry
import WireGuardProtocol

/// One data-plane thread: a queue of each tunnel's TUN device, a UDP socket for each lane, and
/// everything between them.
///
/// Steps of its loop, all serial on the worker's own thread:
/// 1. apply what the control thread posted (`Worker+Commands.swift`);
/// 2. receive datagrams (`Worker+Lanes.swift`), decrypt, check, coalesce, write to TUN
///    (`Worker+Receive.swift`);
/// 3. empty the TUN queues into the scheduler (`Worker+Admit.swift`), each frame in the class of
///    its flow (`Worker+QoS.swift`);
/// 4. take frames out of the scheduler in the order of classes and flows, encrypt and send them
///    (`Worker+Transmit.swift`);
/// 5. sleep only when none of these found work.
///
/// Nothing in steps 2 to 4 allocates. Shared with other threads are sessions, peer activity and
/// counters (atomics), and the routing tables (immutable). A datagram is a tunnel's by the session
/// that it is valid under, a frame by the device that it was read from; neither ever changes hands.
///
/// Methods that only look are `mutating` all the same: their address is handed over then, where a
/// borrowed structure of this size is copied, 1,800 bytes for each call.
struct Worker: ~Copyable {
    let index: Int
    let link: WorkerLink
    let inbox: ControlInbox
    let cipher: PacketCipher
    let loop: EventLoop
    /// TUN devices and sockets that are ready, where there are many; `nil` where there is one.
    let sources: SharedSources?

    var tunnels = TunnelTable()
    var lanes: [Lane] = []
    var sessions = SessionTable()
    var appliedCommands: UInt64 = 0
    var isStopping = false
    /// Until when what is here may still be sent and delivered; `nil` while more is taken in.
    var finishBy: UInt64?
    /// Monotonic nanoseconds at the start of the current step.
    var now: UInt64 = Clock.monotonicNanoseconds()

    // From TUN to the socket.
    var frames = FramePool()
    var queues = TenantQueues(
        frameCapacity: EngineLimits.smallSlots + EngineLimits.largeSlots,
        quantumBytes: EngineLimits.schedulerQuantumBytes,
        frameOverheadBytes: EngineLimits.datagramCostBytes)
    /// Where each frame belongs, by its slot.
    var places = FixedTable(
        repeating: FramePlace(), count: EngineLimits.smallSlots + EngineLimits.largeSlots)
    /// What the common line adds to each packet, in bytes; -1 without one.
    var linkOverheadBytes: Int16 = -1
    /// The large slot that the next TUN read may spill into.
    var spareLargeSlot: Int32?
    let transmitBuffer = ByteArena(count: EngineLimits.transmitBufferBytes)
    var run = DatagramRun()
    var datagramsPerSend = EngineLimits.datagramsPerSend
    let sends = SendBatch(capacity: EngineLimits.sendsPerPass)
    /// Flows that this worker sees, of all tunnels and both ways.
    var flows: FlowTable
    /// Peers whose flows still bear their numbers, while commands are applied.
    var removedPeers: [TunnelID: Set<PeerID>] = [:]
    /// Frames were encrypted and the socket did not take them yet.
    var isSendBlocked = false
    /// So that nobody outside can tell which flows share a queue.
    let flowSeed = SecureRandom.uint32()
    let icmpPacket = ByteArena(count: EngineLimits.smallSlotBytes)

    // From the socket to TUN.
    var received = ReceiveQueue()
    /// Keeps ``fetchSessions()`` from being left out.
    var fetched: UInt32 = 0
    var coalescer = Coalescer(packetCapacity: EngineLimits.packetsPerCoalescing, offloads: [])
    /// Whose packets are in the coalescer.
    var coalescing: TunnelID = -1
    /// What each lane's controller begins as.
    let receiveQueue: SojournController
    /// Handshake messages that may be passed on to the control thread.
    var strayBudget = TokenBucket(
        perSecond: EngineLimits.straysPerSecond,
        burst: EngineLimits.straysBurst)

    /// How the outer header's ECN field is filled.
    let ecnMode: ECN.IngressMode

    static let wakeToken: UInt64 = 0
    static let sourcesToken: UInt64 = 1
    static let laneToken: UInt64 = 1 << 32
    static let tunToken: UInt64 = 2 << 32

    init(
        index: Int, link: WorkerLink, inbox: ControlInbox, cipher: PacketCipher,
        receiveQueue: SojournController, loop: EventLoop, sources: SharedSources?,
        ecnMode: ECN.IngressMode = .normal, flowCapacity: Int = EngineLimits.flowsKnown
    ) {
        self.index = index
        self.link = link
        self.inbox = inbox
        self.cipher = cipher
        self.receiveQueue = receiveQueue
        self.loop = loop
        self.sources = sources
        self.ecnMode = ecnMode
        flows = FlowTable(
            capacity: flowCapacity, seed: (SecureRandom.uint64(), SecureRandom.uint64()))
    }

    /// An event loop that wakes for commands.
    ///
    /// - Parameter isShared: Whether many tunnels and lanes come and go.
    static func makeLoop(
        _ link: WorkerLink, isShared: Bool
    ) throws -> (loop: EventLoop, sources: SharedSources?) {
        let loop = try EventLoop()
        try loop.add(link.bell.fileDescriptor, token: wakeToken, events: .readable)
        guard isShared else { return (loop, nil) }
        let sources = try SharedSources()
        for inner in [sources.devices, sources.sockets] {
            try loop.add(inner.fileDescriptor, token: sourcesToken, events: .readable)
        }
        return (loop, sources)
    }

    /// Works until told to stop.
    ///
    /// - Parameter placement: Of the calling thread, where it has one.
    mutating func work(at placement: ProcessorPlacement?) {
        while !isStopping {
            let applied = applyCommands()
            let received = receive()
            let admitted = finishBy == nil && admitFrames()
            let transmitted = transmit()
            if let finishBy {
                now = Clock.monotonicNanoseconds()
                isStopping = !received && !transmitted || now >= finishBy
                continue
            }
            if !applied && !received && !admitted && !transmitted { sleep() }
            placement?.review(now: now)
        }
    }

    /// Waits for a datagram, a frame, room in the socket, a command, or until a capped tunnel or a
    /// line may send again.
    private mutating func sleep() {
        var timeout: Int64?
        if !isSendBlocked, let eligible = queues.nextEligible {
            let now = Clock.monotonicNanoseconds()
            timeout = eligible > now ? Int64(clamping: eligible - now) : 0
        }
        let readyCount = loop.wait(timeoutNanoseconds: timeout)
        for index in 0..<readyCount where loop.token(at: index) == Self.wakeToken {
            link.bell.drain()
        }
        now = Clock.monotonicNanoseconds()
    }

    /// Where datagrams leave from; `nil` while there is no port.
    var socket: UDPSocket? { lanes.first?.socket }

    /// Asks to be woken when the socket has room again, or no longer.
    mutating func watchForRoom(_ isBlocked: Bool) {
        guard isBlocked != isSendBlocked, let socket else { return }
        isSendBlocked = isBlocked
        try? (sources?.sockets ?? loop).modify(
            socket.fileDescriptor, token: Self.laneToken,
            events: isBlocked ? [.readable, .writable] : .readable)
    }

    /// Counts what is no tunnel's.
    mutating func count(_ counter: EngineCounter, _ amount: Int = 1) {
        link.counters.events.add(counter, amount)
    }

    mutating func count(_ reason: DropReason, _ amount: Int = 1) {
        link.counters.drops.add(reason, amount)
    }

    mutating func count(_ counter: EngineCounter, _ amount: Int = 1, of tunnel: TunnelID) {
        tunnels[tunnel].port.counters.events.add(counter, amount)
    }

    mutating func count(_ reason: DropReason, _ amount: Int = 1, of tunnel: TunnelID) {
        tunnels[tunnel].port.counters.drops.add(reason, amount)
    }

    /// - Returns: `false` if the control thread has too much of its kind to read already.
    @discardableResult
    mutating func post(_ event: WorkerEvent) -> Bool {
        let isKept = inbox.post(event)
        if !isKept { count(.inboxFull) }
        return isKept
    }
}

/// Datagrams of one peer, of equal size but for a shorter last one, that lie behind each other in
/// the transmit buffer and leave with one UDP_SEGMENT send.
struct DatagramRun {
    var tunnel: TunnelID = -1
    var peer: PeerID = -1
    var start = 0
    var end = 0
    var datagramBytes = 0
    var datagramCount = 0
    var datagramCountMax = EngineLimits.datagramsPerSend
    /// DSCP and ECN of the outer headers.
    var trafficClass: UInt8 = 0
    /// A shorter datagram ended the run.
    var isClosed = false

    /// Whether a datagram of `byteCount` bytes to a tunnel's peer may be appended.
    func accepts(
        _ byteCount: Int, tunnel: TunnelID = -1, peer: PeerID, trafficClass: UInt8
    ) -> Bool {
        datagramCount > 0 && !isClosed && self.peer == peer && self.tunnel == tunnel
            && self.trafficClass == trafficClass
            && byteCount <= datagramBytes && datagramCount < datagramCountMax
            && end - start + byteCount <= EngineLimits.bytesPerSend
    }

    mutating func append(_ byteCount: Int) {
        datagramCount += 1
        end += byteCount
        isClosed = byteCount < datagramBytes
    }
}

/// Event loops inside a worker's own, so that one look tells which of many are ready.
struct SharedSources {
    let devices: EventLoop
    let sockets: EventLoop

    init() throws {
        devices = try EventLoop(capacity: EngineLimits.devicesPerPass)
        sockets = try EventLoop(capacity: EngineLimits.lanesPerPass)
    }
}

/// Admits events at a steady rate with bursts.
struct TokenBucket {
    private let perNanosecond: Double
    private let burst: Double
    private var tokens: Double
    private var last: UInt64 = 0

    init(perSecond: Double, burst: Double) {
        perNanosecond = perSecond / 1e9
        self.burst = burst
        tokens = burst
    }

    mutating func take(now: UInt64) -> Bool {
        if now > last {
            tokens = min(burst, tokens + Double(now - last) * perNanosecond)
            last = now
        }
        guard tokens >= 1 else { return false }
        tokens -= 1
        return true
    }
}

extension CoalescingOffloads {
    /// What a TUN device takes as one frame.
    init(_ offloads: TunOffloads) {
        self = []
        guard offloads.contains(.checksum) else { return }
        if offloads.contains(.tcp4) { insert(.tcp4) }
        if offloads.contains(.tcp6) { insert(.tcp6) }
        if offloads.contains(.udp4) { insert(.udp4) }
        if offloads.contains(.udp6) { insert(.udp6) }
    }
}
