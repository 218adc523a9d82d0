import CLinux
import Glibc
import SystemPackage

/// What the kernel does for UDP sockets beyond single datagrams.
public struct UDPOffloads: Hashable, Sendable {
    /// UDP_SEGMENT (Linux 4.18).
    public var segmentation: Bool
    /// UDP_GRO (Linux 5.0).
    public var receiveCoalescing: Bool
    /// Most datagrams of one message: 128, 64 on older kernels, 1 without segmentation.
    public var segmentCountMax: Int
}

/// The sockets that share one UDP port: one for each worker's transport data in each lane, and one
/// for everything else.
///
/// - The kernel steers datagrams by their first bytes (``SteeringFilter``). It is a matter of
///   speed, not of trust: before the filter is attached, and in GRO trains, any socket may receive
///   any message, so each owner judges a message by its own type.
/// - Datagrams leave without the Don't Fragment bit (IP_PMTUDISC_OMIT), as the kernel's WireGuard
///   sends them: a router on the path may fragment what is too long, rather than drop it.
/// - UDP_GRO is on for the control socket too. While it merges, the kernel asks for the setting of
///   a socket of the group that it picks by hash, not by filter.
/// - The port is exclusive when it is bound: the first socket binds without SO_REUSEPORT and fails
///   if anybody holds the port. From then on only a process of the same user that itself sets
///   SO_REUSEPORT could join the group; Linux offers no way to refuse that.
public final class UDPSocketGroup: Sendable {
    /// Lane by lane, in each lane worker by worker.
    public let dataSockets: [UDPSocket]
    public let workerCount: Int
    public let controlSocket: UDPSocket
    public let port: UInt16
    public let family: SocketFamily
    public let offloads: UDPOffloads
    /// What is missing, each in words that fit a log line.
    public let fallbacks: [String]

    /// Sizes as the kernel counts memory, about twice the payload.
    public struct Buffers: Sendable {
        public var receiveByteCount: Int
        public var sendByteCount: Int

        public init(receiveByteCount: Int = 4 << 20, sendByteCount: Int = 4 << 20) {
            self.receiveByteCount = receiveByteCount
            self.sendByteCount = sendByteCount
        }
    }

    /// Binds a port on all addresses.
    ///
    /// - Parameters:
    ///   - port: 0 for a free one of the kernel's choice.
    ///   - workerCount: 1...256.
    ///   - laneCount: 1...256; together at most ``dataSocketsMax`` sockets.
    ///   - firewallMark: SO_MARK of everything that is sent; 0 for none.
    ///   - family: With ``SocketFamily/dualStack``, IPv4 alone where the kernel has no IPv6.
    /// - Throws: ``UDPSocketError``, whose description says what to do.
    public static func bind(
        port: UInt16, workerCount: Int, laneCount: Int = 1, firewallMark: UInt32 = 0,
        buffers: Buffers = Buffers(), family wanted: SocketFamily = .dualStack
    ) throws(UDPSocketError) -> UDPSocketGroup {
        let dataSockets = workerCount * laneCount
        precondition(
            (1...256).contains(workerCount) && (1...256).contains(laneCount)
                && dataSockets <= dataSocketsMax, "a group has 1...\(dataSocketsMax) data sockets")
        var fallbacks: [String] = []
        let (first, family) = try openFirst(wanted, &fallbacks)
        var setup = UDPSocketSetup(family: family, mark: firewallMark, buffers: buffers)
        try setup.configure(first)
        let chosen = try setup.bindExclusively(first, port: port)
        var sockets = [first]
        while sockets.count <= dataSockets {
            let next = try setup.open()
            try setup.configure(next)
            try setup.join(next, port: chosen)
            sockets.append(next)
        }
        try setup.attachFilter(first, workerCount: workerCount, laneCount: laneCount)
        fallbacks += setup.fallbacks
        return UDPSocketGroup(
            sockets.map { UDPSocket($0, family: family) }, workerCount: workerCount, port: chosen,
            family: family,
            offloads: setup.offloads(of: first), fallbacks: fallbacks)
    }

    init(
        _ sockets: [UDPSocket], workerCount: Int, port: UInt16, family: SocketFamily,
        offloads: UDPOffloads, fallbacks: [String]
    ) {
        dataSockets = Array(sockets.dropLast())
        controlSocket = sockets[sockets.count - 1]
        self.workerCount = workerCount
        self.port = port
        self.family = family
        self.offloads = offloads
        var fallbacks = fallbacks
        if !offloads.segmentation { fallbacks.append("no UDP_SEGMENT: needs Linux 4.18") }
        if !offloads.receiveCoalescing { fallbacks.append("no UDP_GRO: needs Linux 5.0") }
        self.fallbacks = fallbacks
    }

    /// Changes the mark of every socket; a failure leaves all of them as they were. SO_MARK
    public func setFirewallMark(_ mark: UInt32) throws(UDPSocketError) {
        var changed: [(socket: UDPSocket, mark: UInt32)] = []
        do {
            for socket in dataSockets + [controlSocket] {
                let earlier = try socket.firewallMark()
                try socket.setFirewallMark(mark)
                changed.append((socket, earlier))
            }
        } catch {
            for (socket, mark) in changed { try? socket.setFirewallMark(mark) }
            throw UDPSocketError(UDPSocketSetup.markOperation, error)
        }
    }

    /// Messages dropped by full receive buffers, of all sockets; wraps at 2^32.
    public var kernelDropCount: UInt32 {
        dataSockets.reduce(controlSocket.receiveQueueOverflows ?? 0) {
            $0 &+ ($1.receiveQueueOverflows ?? 0)
        }
    }

    /// A worker's sockets, one for each lane.
    public func lanes(ofWorker worker: Int) -> [UDPSocket] {
        stride(from: worker, to: dataSockets.count, by: workerCount).map { dataSockets[$0] }
    }

    /// Most data sockets of a group.
    public static let dataSocketsMax = 4_096

    public func close() {
        for socket in dataSockets { socket.close() }
        controlSocket.close()
    }

    private static func openFirst(
        _ wanted: SocketFamily, _ fallbacks: inout [String]
    ) throws(UDPSocketError) -> (OwnedDescriptor, SocketFamily) {
        do {
            return (try UDPSocketSetup.open(wanted), wanted)
        } catch {
            guard wanted == .dualStack, error == .addressFamilyNotSupported else {
                throw .failed(operation: "socket", error)
            }
        }
        fallbacks.append("no IPv6: the kernel lacks it")
        do {
            return (try UDPSocketSetup.open(.ipv4), .ipv4)
        } catch {
            throw .failed(operation: "socket", error)
        }
    }
}
