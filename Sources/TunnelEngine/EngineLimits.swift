import LinuxNetworking
import PacketFormats
import WireGuardProtocol

/// Sizes and budgets of the data plane. Protocol constants live in `WireGuardProtocol`.
public enum EngineLimits {
    /// Most worker threads of one device: the steering program names a socket with one byte.
    public static let workersMax = 64

    // MARK: Frames read from the TUN device

    /// Longest IP packet that a TUN device delivers, in bytes.
    static let packetBytesMax = 65_535
    /// Writable bytes behind a frame: what padding to 16 bytes can need.
    static let frameTailBytes = 16
    /// A slot for frames of one ordinary packet. Longer frames take a large slot.
    static let smallSlotBytes = 2_048
    /// A slot for a TSO or USO frame, rounded up to whole cache lines.
    static let largeSlotBytes =
        (VirtioNetHeader.count + packetBytesMax + frameTailBytes + 63) & ~63
    /// Small slots of one worker: two device queues' worth of packets.
    static let smallSlots = 2_048
    /// Large slots of one worker: the send window of one TCP flow at its default maximum (6 MiB).
    static let largeSlots = 96
    /// Packets the kernel may hold for us in one queue of the TUN device while a worker is off the
    /// processor: 16 ms at 250,000 packets a second.
    static let tunQueuePackets = 4_096
    /// Frames read from TUN devices before the worker looks at its sockets again.
    static let framesPerDrain = 256
    /// TUN devices that one look finds ready, and the frames that each may give whatever the
    /// number of others.
    static let devicesPerPass = 32
    static let framesPerDeviceMin = 16

    // MARK: Frames that wait for a handshake

    /// Frames kept for one peer (the kernel's MAX_STAGED_PACKETS).
    static let stagedFramesPerPeer = 128
    /// Frames kept for all peers of one worker, so that dead peers cannot starve live ones.
    static let stagedFramesPerWorker = 512
    /// Large frames among them.
    static let stagedLargeFramesPerWorker = 24

    // MARK: Sending

    /// Encrypted bytes that one pass builds before it hands them to the kernel.
    static let transmitBufferBytes = 1 << 19
    /// Bytes beyond which a pass takes no more bulk, counted each way: one full TSO frame or GRO
    /// train is a pass. Bounds how long a small packet waits for the worker, at about 50
    /// microseconds each way.
    static let bulkBytesPerPass = 1 << 15
    /// A message of at most this many bytes may be the rest of a TSO frame, and is received in the
    /// same pass. With an MTU of 1,420 the rest has 2,904 bytes, or 4,356 over IPv6; with one of
    /// 1,280 up to 6,560.
    static let trainTailBytes = 1 << 13
    /// Datagrams of one UDP_SEGMENT send: what every kernel with UDP_SEGMENT takes. Newer ones take
    /// 128, and are asked.
    static let datagramsPerSend = 64
    /// Payload bytes of one UDP send over IPv4: 65,535 less IPv4 and UDP headers.
    static let bytesPerSend = 65_507
    /// Sends handed to one sendmmsg call.
    static let sendsPerPass = 256
    /// Sends that one frame can need: its segments in full runs, and the run before it.
    static let sendsPerFrame = Segmenter.segmentCountMax / datagramsPerSend + 2
    /// Bytes a bulk flow may send before the next one's turn: one full TSO frame.
    static let schedulerQuantumBytes = 65_535

    // MARK: Classes

    /// Flows whose classes and timings are known, of all workers together.
    static let flowsKnown = 100_000
    /// How often the tokens that were seen are taken from a tunnel's budget, in nanoseconds.
    static let budgetReviewNanoseconds: UInt64 = 100_000_000
    /// What each packet of a frame that is cut later has of headers and padding, about.
    static let innerHeaderBytes = 60
    /// Bytes of a hand-over's settings of one tunnel, as text.
    static let settingsTextBytesMax = 1 << 26

    // MARK: Receiving

    /// Messages taken out of the socket and not yet delivered. Allocated, not always used; bulk
    /// that finds no place waits in the socket, and small messages behind it.
    static let messagesHeld = 32
    /// Messages of one recvmmsg call.
    static let messagesPerReceive = 16
    /// A message of at most this many bytes is not bulk: delivering it takes a few microseconds.
    static let smallMessageBytes = 4_096
    /// Less than this behind a message is no queue: the longest message, as CoDel's largest packet
    /// (RFC 8289, section 4.1).
    static let standingQueueBytes = 1 << 16
    /// What a datagram costs a worker beside its bytes, in bytes that would cost as much.
    static let datagramCostBytes = 600
    /// With lanes, the messages taken out of the sockets and not yet delivered are at most about
    /// this many bytes: what waits, waits in its own lane.
    static let heldBytesWithLanes = 1 << 17
    /// What a lane may take in before another one's turn, counted as `datagramCostBytes` says.
    static let laneQuantumBytes = 1 << 16
    /// Greatest weight of a lane: it may take in so many quanta in one turn.
    static let laneWeightMax = 1_000
    /// Lanes of a gateway's port, and most data sockets of all workers together.
    static let lanesMax = 128
    static let dataSocketsMax = 1_024
    /// Lanes that one look finds ready.
    static let lanesPerPass = 32
    /// Opened packets that may wait for their delivery.
    static let packetsHeld = messagesHeld * 64
    /// Counters of waiting packets, by the hash of their flow.
    static let waitingFlows = 1_024
    /// One received message: a GRO run of datagrams.
    static let messageBytes = (packetBytesMax + 63) & ~63
    /// Inner packets gathered before they are written to the TUN device.
    static let packetsPerCoalescing = 512
    /// Socket buffers asked for, in bytes (the kernel doubles them for its bookkeeping).
    static let receiveBufferBytes = 4 << 20
    static let sendBufferBytes = 2 << 20

    /// Handshake messages inside coalesced runs of data, and data inside such of handshake
    /// messages, per second and in one burst: a peer sends one in two minutes.
    static let straysPerSecond = 500.0
    static let straysBurst = 64.0

    // MARK: Control

    /// Allowed IPs whose packets are steered to the worker of their peer: twice as many as a
    /// request may name peers. The kernel reserves nothing for them.
    static let steeredPrefixes = 1 << 17
    /// Removed peers that workers may still have to forget: fewer than there are numbers that rest
    /// before they are given to another peer.
    static let removedPeersUnposted = ImplementationLimits.restingPeerIDCount / 2
    /// Moves of peers that a worker reports per second, and in one burst.
    static let roamingPerSecond = 200.0
    static let roamingBurst = 64.0
    /// How often a device that was moved to another network namespace is looked at, in nanoseconds.
    static let foreignLinkNanoseconds: UInt64 = 1_000_000_000

    /// How often connections that are over are forgotten, in nanoseconds.
    static let accessReviewNanoseconds: UInt64 = 3_600_000_000_000

    /// Longest time that a sleeping worker keeps what a posted command took away, in nanoseconds.
    static let bellNanoseconds: UInt64 = 50_000_000

    /// Messages of one recvmmsg call on the control socket, and datagrams after which a pass begins
    /// no other message: the kernel coalesces dozens of them in one.
    static let handshakesPerPass = 128
    /// At least this many waiting handshake messages mean load: cookies are asked for (the
    /// kernel's and wireguard-go's threshold is an eighth of their queue).
    static let handshakesWaitingUnderLoad = 96
    /// Failed handshakes a second beyond which cookies are asked for although none waits, so that a
    /// flood from forged addresses never gets more than about a tenth of a processor; and how many
    /// may come at once before that, as when a gateway's branches all come back.
    static let handshakesPerSecond = 2_000.0
    static let handshakeBurst = 500.0
    /// How long handshake messages gather under load: at most a hundred thousand a second are read.
    static let handshakePauseNanoseconds: UInt64 = 1_000_000
    /// How long load lasts after it was last seen, in nanoseconds.
    static let underLoadNanoseconds: UInt64 = 1_000_000_000
    /// How long until a UDP port that cannot be opened is tried again; doubled each time up to the
    /// second figure.
    static let socketPauseNanoseconds: UInt64 = 1_000_000_000
    static let socketPauseNanosecondsMax: UInt64 = 30_000_000_000
    /// Configuration connections at once, and how long one may stay silent.
    static let controlConnectionsMax = 128
    /// Numbers that connections are told apart by; far more than are open at once.
    static let connectionNumbers: UInt32 = 1 << 30
    static let controlConnectionNanoseconds: UInt64 = 10_000_000_000
    /// Requests from within the process that wait for the control thread.
    static let controlRequestsWaiting = 1_024
    /// Those of one tunnel that are carried out before others have their turn.
    static let controlRequestsPerPass = 64
    /// Tunnels of one engine: what the numbers in session indices and tokens have room for.
    static let tunnelsMax = 4_096
    /// Answers to injected packets that wait for whoever asked.
    static let answersWaiting = 256
    /// Answers that one tunnel's worker hands on per second, and in one burst.
    static let answersPerSecond = 400.0
    static let answerBurst = 128.0
    /// Bytes read from one configuration connection before others have their turn.
    static let controlReadBytes = 1 << 16
    /// ICMP errors that one worker writes per second, and in one burst.
    static let icmpPerSecond = 1_000.0
    static let icmpBurst = 50.0
    /// Messages with probes or answers that one worker takes of a peer in a second, and at once:
    /// twice what the quickest pace makes.
    static let pathFramesPerSecond = 400.0
    static let pathFrameBurst = 32.0
    /// Between probes of a path with traffic, where the line's rate follows them.
    static let followedPathNanoseconds: UInt64 = 100_000_000
    /// Nothing that arrived waits longer than this in nanoseconds; a clock that was set does.
    static let arrivalAgeMax: UInt64 = 1_000_000_000

    // MARK: Handover to another process

    /// How long the other process may take, in nanoseconds: to begin to speak; to make itself ready
    /// while this one goes on; to take up the state while nobody serves; and one message.
    static let handoverHelloNanoseconds: UInt64 = 5_000_000_000
    static let handoverReadyNanoseconds: UInt64 = 20_000_000_000
    static let handoverStateNanoseconds: UInt64 = 3_000_000_000
    static let handoverMessageNanoseconds: UInt64 = 1_000_000_000
    /// Descriptors that a new process takes: sockets, and queues and listeners of all tunnels.
    static let handoverDescriptorsMax =
        UDPSocketGroup.dataSocketsMax + 2 + tunnelsMax * (workersMax + 1)
    /// How long a worker that ends may send and deliver what is here.
    static let finishNanoseconds: UInt64 = 5_000_000
}
