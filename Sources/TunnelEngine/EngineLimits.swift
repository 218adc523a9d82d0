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
    /// Frames read from the TUN device before the worker looks at its socket again.
    static let framesPerDrain = 256

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
    /// Datagrams of one UDP_SEGMENT send: what every kernel with UDP_SEGMENT takes. Newer ones take
    /// 128, and are asked.
    static let datagramsPerSend = 64
    /// Payload bytes of one UDP send over IPv4: 65,535 less IPv4 and UDP headers.
    static let bytesPerSend = 65_507
    /// Sends handed to one sendmmsg call.
    static let sendsPerPass = 256
    /// Sends that one frame can need: its segments in full runs, and the run before it.
    static let sendsPerFrame = Segmenter.segmentCountMax / datagramsPerSend + 2
    /// Flows that the scheduler tells apart, per worker.
    static let schedulerFlows = 1_024
    /// Bytes a bulk flow may send before the next one's turn: one full TSO frame.
    static let schedulerQuantumBytes = 65_535

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

    /// Longest time that a sleeping worker keeps what a posted command took away, in nanoseconds.
    static let bellNanoseconds: UInt64 = 50_000_000

    /// Handshake messages of one recvmmsg call on the control socket.
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
    static let controlConnectionNanoseconds: UInt64 = 10_000_000_000
    /// Bytes read from one configuration connection before others have their turn.
    static let controlReadBytes = 1 << 16
    /// ICMP errors that one worker writes per second, and in one burst.
    static let icmpPerSecond = 1_000.0
    static let icmpBurst = 50.0
}
