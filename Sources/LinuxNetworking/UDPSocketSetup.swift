import CLinux
import Glibc
import PacketFormats
import SystemPackage

/// The steps by which ``UDPSocketGroup`` makes its sockets.
struct UDPSocketSetup {
    let family: SocketFamily
    let mark: UInt32
    let buffers: UDPSocketGroup.Buffers
    private(set) var fallbacks: [String] = []

    init(family: SocketFamily, mark: UInt32, buffers: UDPSocketGroup.Buffers) {
        self.family = family
        self.mark = mark
        self.buffers = buffers
    }

    static func open(_ family: SocketFamily) throws(Errno) -> OwnedDescriptor {
        try .socket(family, Int32(CLINUX_SOCK_DGRAM))
    }

    func open() throws(UDPSocketError) -> OwnedDescriptor {
        do {
            return try Self.open(family)
        } catch {
            throw .failed(operation: "socket", error)
        }
    }

    mutating func configure(_ socket: OwnedDescriptor) throws(UDPSocketError) {
        if family == .dualStack {
            try require(socket, IPPROTO_IPV6, IPV6_RECVTCLASS, 1, "IPV6_RECVTCLASS")
            // Tells mapped IPv4 addresses too, so IP_PKTINFO would only say it twice.
            try require(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO")
            try require(
                socket, IPPROTO_IPV6, IPV6_MTU_DISCOVER, UDPSocket.fragmentable6,
                "IPV6_MTU_DISCOVER")
        } else {
            try require(socket, IPPROTO_IP, IP_PKTINFO, 1, "IP_PKTINFO")
        }
        // On a dual-stack socket these govern its IPv4 side.
        try require(socket, IPPROTO_IP, IP_RECVTOS, 1, "IP_RECVTOS")
        try require(
            socket, IPPROTO_IP, IP_MTU_DISCOVER, UDPSocket.fragmentable4, "IP_MTU_DISCOVER")
        try require(
            socket, Int(SOL_SOCKET), Int32(CLINUX_SO_TIMESTAMPNS), 1, "SO_TIMESTAMPNS")
        // Fails on kernels without it; the group's offloads say so.
        try? socket.setOption(
            Int32(CLINUX_SOL_UDP), Int32(CLINUX_UDP_GRO), 1)
        if mark != 0 {
            try require(
                socket, Int(SOL_SOCKET), Int32(CLINUX_SO_MARK), Int32(bitPattern: mark),
                Self.markOperation)
        }
        setBuffers(socket)
    }

    /// Binds the first socket of a group, which fails if anybody holds the port, whatever options
    /// that holder has set; and lets others of this process join it.
    func bindExclusively(_ socket: OwnedDescriptor, port: UInt16) throws(UDPSocketError) -> UInt16 {
        try bind(socket, port)
        try allowSharing(socket)
        guard let chosen = Self.port(of: socket) else {
            throw .failed(operation: "getsockname", Errno(rawValue: errno))
        }
        return chosen
    }

    /// - Returns: 0 for a socket that is not bound. getsockname
    static func port(of socket: OwnedDescriptor) -> UInt16? {
        unsafe socket.endpoint(getsockname)?.port
    }

    func join(_ socket: OwnedDescriptor, port: UInt16) throws(UDPSocketError) {
        try allowSharing(socket)
        try bind(socket, port)
    }

    /// The kernel numbers the sockets of a group in the order in which they were bound.
    func attachFilter(
        _ socket: OwnedDescriptor, workerCount: Int, laneCount: Int
    ) throws(UDPSocketError) {
        let program = SteeringFilter.program(workerCount: workerCount, laneCount: laneCount)
        let status = unsafe program.withUnsafeBufferPointer {
            unsafe clinux_attach_reuseport_filter(
                socket.rawValue, $0.baseAddress, UInt16($0.count))
        }
        if status < 0 {
            throw .failed(operation: "SO_ATTACH_REUSEPORT_CBPF", Errno(rawValue: -status))
        }
    }

    func offloads(of socket: OwnedDescriptor) -> UDPOffloads {
        let level = Int32(CLINUX_SOL_UDP)
        let segmentation =
            (try? socket.option(level, Int32(CLINUX_UDP_SEGMENT))) != nil
        // Reading UDP_GRO back is newer than setting it.
        let coalescing =
            (try? socket.setOption(level, Int32(CLINUX_UDP_GRO), 1)) != nil
        return UDPOffloads(
            segmentation: segmentation, receiveCoalescing: coalescing,
            segmentCountMax: segmentation ? Self.segmentCountMax() : 1)
    }

    private func bind(_ socket: OwnedDescriptor, _ port: UInt16) throws(UDPSocketError) {
        do {
            try socket.bind(SocketName(anyAddressOf: family, port: port))
        } catch {
            throw error == .addressInUse
                ? .portInUse(port) : UDPSocketError("binding port \(port)", error)
        }
    }

    private func allowSharing(_ socket: OwnedDescriptor) throws(UDPSocketError) {
        try require(
            socket, Int(SOL_SOCKET), Int32(CLINUX_SO_REUSEPORT), 1, "SO_REUSEPORT")
    }

    private mutating func setBuffers(_ socket: OwnedDescriptor) {
        let borrowed = UDPSocket(socket, family: family)
        let received = (try? borrowed.setReceiveBuffer(byteCount: buffers.receiveByteCount)) ?? 0
        let sent = (try? borrowed.setSendBuffer(byteCount: buffers.sendByteCount)) ?? 0
        // All sockets get the same answer: say it once.
        if !fallbacks.isEmpty { return }
        if received < buffers.receiveByteCount {
            fallbacks.append(
                "UDP receive buffer of \(received) instead of \(buffers.receiveByteCount) bytes: "
                    + "raise net.core.rmem_max")
        }
        if sent < buffers.sendByteCount {
            fallbacks.append(
                "UDP send buffer of \(sent) instead of \(buffers.sendByteCount) bytes: "
                    + "raise net.core.wmem_max")
        }
    }

    private func require(
        _ socket: OwnedDescriptor, _ level: Int, _ option: Int32, _ value: Int32, _ name: String
    ) throws(UDPSocketError) {
        do {
            try socket.setOption(Int32(level), option, value)
        } catch {
            throw UDPSocketError(name, error)
        }
    }

    /// Asks the kernel, by sending datagrams of one byte over the loopback device from a socket to
    /// itself: older kernels take 64 in one message. Where loopback is down the newer limit is
    /// assumed; a message beyond an older kernel's limit is then sent in pieces.
    private static func segmentCountMax() -> Int {
        guard let socket = try? open(.ipv4) else { return segmentCountLimit }
        try? socket.setOption(Int32(CLINUX_SOL_UDP), Int32(CLINUX_UDP_SEGMENT), 1)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
        let payload = [UInt8](repeating: 0, count: segmentCountLimit)
        let isRefused = unsafe withUnsafeMutableBytes(of: &name) { bytes in
            let address = unsafe bytes.baseAddress.unsafelyUnwrapped
                .assumingMemoryBound(to: sockaddr.self)
            var count = socklen_t(bytes.count)
            guard unsafe Glibc.bind(socket.rawValue, address, count) == 0,
                unsafe getsockname(socket.rawValue, address, &count) == 0
            else { return false }
            let sent = unsafe sendto(
                socket.rawValue, payload, payload.count, Int32(CLINUX_MSG_DONTWAIT), address, count)
            return sent < 0 && errno == EINVAL
        }
        return isRefused ? segmentCountLimitOld : segmentCountLimit
    }

    /// What a failure to set the mark is called.
    static let markOperation = "SO_MARK (firewall mark)"
    private static let segmentCountLimit = 128
    private static let segmentCountLimitOld = 64
}
