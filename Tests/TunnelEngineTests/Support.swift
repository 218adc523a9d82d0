import Cryptography
import EgressScheduling
import Glibc
import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import LinuxNetworking
@testable import TunnelEngine
@testable import WireGuardProtocol

/// A session that nobody else has the keys of.
func makeSession(_ localIndex: UInt32, peer: PeerID = 0) -> Session {
    Session(
        localIndex: localIndex, remoteIndex: 0, peer: peer, isInitiator: true, createdAt: 0,
        activity: PeerActivity(), sendKey: Secret32(), receiveKey: Secret32())
}

/// Both ends of a session that was made just now: the initiator's, which may send at once, and
/// the responder's, which must receive first.
func makeSessionPair(
    tunnel: TunnelID = 0, peer: PeerID = 0, profile: TunnelProfile = .wireguard
) -> (initiator: Session, responder: Session) {
    let there = Secret32.random(), back = Secret32.random()
    let now = Clock.monotonicNanoseconds()
    // The second byte selects the lane.
    let index = UInt32(tunnel) << 8
    return (
        Session(
            localIndex: 0x1111_0000 + index, remoteIndex: 0x2222_0000 + index, tunnel: tunnel,
            peer: peer, profile: profile, isInitiator: true, createdAt: now,
            activity: PeerActivity(), sendKey: there, receiveKey: back),
        Session(
            localIndex: 0x2222_0000 + index, remoteIndex: 0x1111_0000 + index, tunnel: tunnel,
            peer: peer, profile: profile, isInitiator: false, createdAt: now,
            activity: PeerActivity(), sendKey: back, receiveKey: there)
    )
}

/// Two connected Unix sockets that keep message boundaries where `kind` does.
func socketPair(_ kind: __socket_type) throws -> (Int32, Int32) {
    var ends: [Int32] = [-1, -1]
    // A process that another test starts must not keep an end open.
    let flags = SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
    try #require(socketpair(AF_UNIX, Int32(kind.rawValue | flags), 0, &ends) == 0)
    return (ends[0], ends[1])
}

/// A worker without its thread, between a socket pair that stands in for its TUN queue and a UDP
/// socket on the loopback device. Peer 0 is at the other end.
final class WorkerBench {
    var worker: Worker
    let link: WorkerLink
    let inbox: ControlInbox
    /// Of the tunnel.
    let counters = WorkerCounters()
    let sockets: UDPSocketGroup
    let activity: PeerActivity
    /// The kernel's end of the queue.
    let kernelQueue: TunQueue
    private let queue: TunQueue
    private let readBuffer = ByteArena(count: 66_000)

    static let mtu = 1_420
    static let peer: PeerID = 0

    /// - Parameter allowed: What peer 0 may send, and is sent.
    init(_ session: Session, allowed: String) throws {
        activity = session.activity
        link = WorkerLink(bell: try EventDescriptor())
        inbox = ControlInbox(bell: try EventDescriptor())
        sockets = try UDPSocketGroup.bind(port: 0, workerCount: 1)
        let (queueEnd, kernelEnd) = try socketPair(SOCK_SEQPACKET)
        kernelQueue = TunQueue(fileDescriptor: kernelEnd)
        queue = TunQueue(fileDescriptor: queueEnd)
        var allowedIPs = AllowedIPs()
        allowedIPs.insert(try #require(IPPrefix(allowed)), Self.peer)
        let (loop, sources) = try Worker.makeLoop(link, isShared: false)
        worker = Worker(
            index: 0, link: link, inbox: inbox, cipher: PacketCipher(),
            receiveQueue: SojournController(
                targetNanoseconds: .max, intervalNanoseconds: .max),
            loop: loop, sources: sources)
        let port = TunnelPort(
            number: 0, tun: queue, offloads: .all, hasVirtioHeader: true, mtu: Self.mtu,
            isUp: true, lane: 0, limits: TunnelLimits(TenantLimits()), counters: counters)
        link.post([.addTunnel(port), .useSockets(sockets.dataSockets)])
        post([.route(RoutingTable(allowedIPs)), .addPeer(Self.peer, activity)])
    }

    deinit {
        close(kernelQueue.fileDescriptor)
        close(queue.fileDescriptor)
        sockets.close()
    }

    /// Where datagrams reach this worker.
    var endpoint: Endpoint {
        Endpoint(address: IPAddress(ipv4: 0x7f00_0001), port: sockets.port)
    }

    /// Tells the worker something of its tunnel.
    func post(_ commands: [TunnelCommand]) { link.post(commands.map { .tunnel(0, $0) }) }

    /// Tells the worker where its peer is.
    func setPlace(_ endpoint: Endpoint) {
        post([.setDestination(Self.peer, Destination(endpoint, family: sockets.family))])
    }

    /// One pass of the worker's loop, without the sleep.
    func step() {
        worker.applyCommands()
        _ = worker.receive()
        _ = worker.admitFrames()
        _ = worker.transmit()
    }

    /// Puts a frame into the worker's queue, as the kernel does.
    func offer(_ packet: [UInt8], header: VirtioNetHeader = VirtioNetHeader()) {
        let arena = ByteArena(count: VirtioNetHeader.count + packet.count)
        header.write(to: arena.whole)
        for (offset, byte) in packet.enumerated() {
            arena.whole[VirtioNetHeader.count + offset] = byte
        }
        let written = kernelQueue.write(arena.whole)
        #expect(written == arena.whole.count)
    }

    /// The next frame that the worker wrote to its queue.
    func nextDelivered() -> (header: VirtioNetHeader, packet: [UInt8])? {
        let count = kernelQueue.read(readBuffer.whole)
        guard count > VirtioNetHeader.count else { return nil }
        let frame = readBuffer.whole.prefix(count)
        return (VirtioNetHeader(reading: frame), frame.region(from: VirtioNetHeader.count).bytes)
    }

    /// All packets that the worker wrote to its queue, of frames that were not merged.
    func delivered() -> [[UInt8]] {
        var packets: [[UInt8]] = []
        while let (_, packet) = nextDelivered() { packets.append(packet) }
        return packets
    }
}

/// Two workers whose peers are each other: 10.0.0.1 on the left, 10.0.0.2 on the right.
struct WorkerBenchPair {
    let left: WorkerBench
    let right: WorkerBench
    let leftSession: Session
    let rightSession: Session

    init(profile: TunnelProfile = .wireguard) throws {
        (leftSession, rightSession) = makeSessionPair(profile: profile)
        left = try WorkerBench(leftSession, allowed: "10.0.0.2/32")
        right = try WorkerBench(rightSession, allowed: "10.0.0.1/32")
        left.setPlace(right.endpoint)
        right.setPlace(left.endpoint)
    }

    /// Gives both their sessions, as after a handshake that the left began.
    func establish() {
        left.post([.install(leftSession), .send(WorkerBench.peer, with: leftSession)])
        right.post([.install(rightSession)])
    }

    /// Lets both work until `condition` holds.
    func work(until condition: () -> Bool) -> Bool {
        eventually {
            left.step()
            right.step()
            return condition()
        }
    }
}

extension VirtioNetHeader {
    /// Of an IPv4 TCP frame without options that is to be cut at 1,360 bytes of payload.
    static let tcp4Segmentation = {
        var header = VirtioNetHeader()
        header.flags = needsChecksumFlag
        header.gsoType = gsoTCPv4
        header.headerLength = 40
        header.gsoSize = 1_360
        header.checksumStart = 20
        header.checksumOffset = 16
        return header
    }()
}
