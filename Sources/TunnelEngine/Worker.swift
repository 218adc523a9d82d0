import Cryptography
import EgressScheduling
import LinuxNetworking
import PacketFormats
import PacketMemory
import Telemetry
import WireGuardProtocol

/// One data-plane thread: a TUN queue, a UDP socket, and everything between them.
///
/// Steps of its loop, all serial on the worker's own thread:
/// 1. apply what the control thread posted (`Worker+Commands.swift`);
/// 2. receive datagrams, decrypt, check, coalesce, write to TUN (`Worker+Receive.swift`);
/// 3. empty the TUN queue into the scheduler (`Worker+Admit.swift`);
/// 4. take frames out of the scheduler, sparse flows first, encrypt and send them
///    (`Worker+Transmit.swift`);
/// 5. sleep only when none of these found work.
///
/// Nothing in steps 2 to 4 allocates. Shared with other threads are sessions, peer activity and
/// counters (atomics), and the routing table (immutable).
struct Worker: ~Copyable {
    let index: Int
    let link: WorkerLink
    let inbox: ControlInbox
    let tun: TunQueue
    let hasVirtioHeader: Bool
    let cipher: PacketCipher
    let loop: EventLoop

    var socket: UDPSocket?
    var routes: RoutingTable
    var sessions = SessionTable()
    var peers = PeerTable()
    var mtu: Int
    var appliedCommands: UInt64 = 0
    var isStopping = false
    /// Monotonic nanoseconds at the start of the current step.
    var now: UInt64 = Clock.monotonicNanoseconds()

    // From TUN to the socket.
    var frames = FramePool()
    var queues = FlowQueues(
        flowCount: EngineLimits.schedulerFlows,
        frameCapacity: EngineLimits.smallSlots + EngineLimits.largeSlots,
        quantumBytes: EngineLimits.schedulerQuantumBytes)
    /// The large slot that the next TUN read may spill into.
    var spareLargeSlot: Int32?
    var stagedCount = 0
    var stagedLargeCount = 0
    let transmitBuffer = ByteArena(count: EngineLimits.transmitBufferBytes)
    var run = DatagramRun()
    var datagramsPerSend = EngineLimits.datagramsPerSend
    let sends = SendBatch(capacity: EngineLimits.sendsPerPass)
    /// Frames were encrypted and the socket did not take them yet.
    var isSendBlocked = false
    var icmpBudget = TokenBucket(
        perSecond: EngineLimits.icmpPerSecond, burst: EngineLimits.icmpBurst)
    /// So that nobody outside can tell which flows share a queue.
    let flowSeed = SecureRandom.uint32()
    let icmpPacket = ByteArena(count: EngineLimits.smallSlotBytes)

    // From the socket to TUN.
    var received = ReceiveQueue()
    var coalescer: Coalescer
    var receiveQueue: SojournController
    /// Handshake messages that may be passed on to the control thread.
    var strayBudget = TokenBucket(
        perSecond: EngineLimits.straysPerSecond,
        burst: EngineLimits.straysBurst)
    /// Moves of peers that may be reported to the control thread.
    var roamingBudget = TokenBucket(
        perSecond: EngineLimits.roamingPerSecond, burst: EngineLimits.roamingBurst)
    /// A packet of a bulk run is to be marked or dropped.
    var owesSignal = false

    /// How the outer header's ECN field is filled.
    let ecnMode: ECN.IngressMode
    /// The TUN device was deleted.
    var isDeviceGone = false

    static let wakeToken: UInt64 = 0
    static let tunToken: UInt64 = 1
    static let socketToken: UInt64 = 2

    init(
        index: Int, link: WorkerLink, inbox: ControlInbox, tun: TunQueue, offloads: TunOffloads,
        hasVirtioHeader: Bool, cipher: PacketCipher, mtu: Int, routes: RoutingTable,
        receiveQueue: SojournController, loop: EventLoop, ecnMode: ECN.IngressMode = .normal
    ) {
        self.index = index
        self.link = link
        self.inbox = inbox
        self.tun = tun
        self.hasVirtioHeader = hasVirtioHeader
        coalescer = Coalescer(
            packetCapacity: EngineLimits.packetsPerCoalescing,
            offloads: hasVirtioHeader ? CoalescingOffloads(offloads) : [])
        self.cipher = cipher
        self.mtu = mtu
        self.routes = routes
        self.receiveQueue = receiveQueue
        self.loop = loop
        self.ecnMode = ecnMode
    }

    /// An event loop that wakes for commands and for frames.
    static func makeLoop(_ link: WorkerLink, _ tun: TunQueue) throws -> EventLoop {
        let loop = try EventLoop()
        try loop.add(link.bell.fileDescriptor, token: wakeToken, events: .readable)
        try loop.add(tun.fileDescriptor, token: tunToken, events: .readable)
        return loop
    }

    /// Works until told to stop.
    ///
    /// - Parameter placement: Of the calling thread, where it has one.
    mutating func work(at placement: ProcessorPlacement?) {
        while !isStopping {
            let applied = applyCommands()
            let received = receive()
            let admitted = admitFrames()
            let transmitted = transmit()
            if !applied && !received && !admitted && !transmitted { sleep() }
            placement?.review(now: now)
        }
    }

    /// Waits for a datagram, a frame, room in the socket or a command.
    private mutating func sleep() {
        let readyCount = loop.wait(timeoutNanoseconds: nil)
        for index in 0..<readyCount where loop.token(at: index) == Self.wakeToken {
            link.bell.drain()
        }
        now = Clock.monotonicNanoseconds()
    }

    /// Asks to be woken when the socket has room again, or no longer.
    mutating func watchForRoom(_ isBlocked: Bool) {
        guard isBlocked != isSendBlocked, let socket else { return }
        isSendBlocked = isBlocked
        try? loop.modify(
            socket.fileDescriptor, token: Self.socketToken,
            events: isBlocked ? [.readable, .writable] : .readable)
    }

    func count(_ counter: EngineCounter, _ amount: Int = 1) {
        link.events.add(counter, amount)
    }

    func count(_ reason: DropReason, _ amount: Int = 1) {
        link.drops.add(reason, amount)
    }

    /// - Returns: `false` if the control thread has too much of its kind to read already.
    @discardableResult
    func post(_ event: WorkerEvent) -> Bool {
        let isKept = inbox.post(event)
        if !isKept { count(.inboxFull) }
        return isKept
    }
}

/// Datagrams of one peer, of equal size but for a shorter last one, that lie behind each other in
/// the transmit buffer and leave with one UDP_SEGMENT send.
struct DatagramRun {
    var peer: PeerID = -1
    var start = 0
    var end = 0
    var datagramBytes = 0
    var datagramCount = 0
    var datagramCountMax = EngineLimits.datagramsPerSend
    var ecn: ECN = .notECT
    /// A shorter datagram ended the run.
    var isClosed = false

    /// Whether a datagram of `byteCount` bytes to `peer` may be appended.
    func accepts(_ byteCount: Int, peer: PeerID, ecn: ECN) -> Bool {
        datagramCount > 0 && !isClosed && self.peer == peer && self.ecn == ecn
            && byteCount <= datagramBytes && datagramCount < datagramCountMax
            && end - start + byteCount <= EngineLimits.bytesPerSend
    }

    mutating func append(_ byteCount: Int) {
        datagramCount += 1
        end += byteCount
        isClosed = byteCount < datagramBytes
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
