import Cryptography
import LinuxNetworking
import PacketFormats
import PacketMemory
import WireGuardProtocol

/// The peers, their sockets, and the one loop that serves them. Serial:
///
/// 1. wait for datagrams, or until something is due;
/// 2. datagrams: transport data by its receiver index, handshakes to the device that awaits them;
/// 3. timers of all peers, every ``timerIntervalNanoseconds``;
/// 4. what the devices want done.
final class Emulator {
    let identities: Identities
    let gateway: Endpoint
    let peers: [EmulatedPeer]
    let firstTenant: Int
    let peersPerTenant: Int
    let cipher = PacketCipher()
    let loop: EventLoop
    var counts = Counts()

    private let groups: [UDPSocketGroup]
    let destinations: [Destination]
    private let receives = ReceiveBatch(messageCapacity: 64)
    let sends = SendBatch(capacity: 64)
    let slots = ByteArena(count: 64 * slotBytes)
    /// One inner packet, before it is encrypted.
    let packetMemory = ByteArena(count: slotBytes)
    /// The port that the waiting datagrams leave by.
    var sendingPort = 0
    private let small = ByteArena(count: 64)
    /// Sessions by port and local index.
    private var sessions: [UInt64: (session: Session, peer: Int)] = [:]
    /// Peers whose initiation waits for a response, by port and local index.
    private var initiators: [UInt64: Int] = [:]
    private var nextTimerScan: UInt64 = 0
    /// Called with the peer's place when its handshake completed.
    var handshakeCompleted: (Int) -> Void = { _ in }

    static let slotBytes = 2_048
    static let timerIntervalNanoseconds: UInt64 = 50_000_000
    static let standardInputToken = UInt64.max

    struct Counts {
        var sentPackets = 0
        var receivedPackets = 0
        var receivedBytes = 0
        var initiations = 0
        var cookies = 0
        var keepalives = 0
        /// Datagrams that nobody here could read.
        var strays = 0
        var sendFailures = 0
    }

    init(
        identities: Identities, gateway: Endpoint, tenants: Range<Int>, peersPerTenant: Int,
        portCount: Int, profile: TunnelProfile = .wireguard
    ) throws {
        self.identities = identities
        self.gateway = gateway
        self.peersPerTenant = peersPerTenant
        firstTenant = tenants.lowerBound
        loop = try EventLoop(capacity: 256)
        let now = Clock.monotonicNanoseconds()
        let total = tenants.count * peersPerTenant
        var peers: [EmulatedPeer] = []
        for tenant in tenants {
            let gatewayKey = identities.gatewayKey(of: tenant).publicKey
            for number in 0..<peersPerTenant {
                // Neighbours share a port, so that a send batch holds many of them.
                let peer = EmulatedPeer(
                    tenant: tenant, number: number, port: peers.count * portCount / total,
                    key: identities.peerKey(tenant: tenant, peer: number), gatewayKey: gatewayKey,
                    gateway: gateway, profile: profile, now: now)
                if let peer { peers.append(peer) }
            }
        }
        self.peers = peers
        groups = try (0..<portCount).map { _ in
            try UDPSocketGroup.bind(port: 0, workerCount: 1, family: .ipv4)
        }
        destinations = groups.compactMap { Destination(gateway, family: $0.family) }
        for (number, group) in groups.enumerated() {
            for (offset, socket) in [group.dataSockets[0], group.controlSocket].enumerated() {
                try loop.add(
                    socket.fileDescriptor, token: UInt64(2 * number + offset), events: .readable)
            }
        }
    }

    /// Places of the peers of some tenants, the first `count` of each.
    func places(tenants: ClosedRange<Int>, count: Int? = nil) -> [Int] {
        let count = min(count ?? peersPerTenant, peersPerTenant)
        return tenants.flatMap { tenant in
            let first = (tenant - firstTenant) * peersPerTenant
            return first >= 0 && first < peers.count ? Array(first..<first + count) : []
        }
    }

    // MARK: The loop

    /// Waits at most so long, and serves what came.
    ///
    /// - Returns: Whether standard input has something.
    @discardableResult
    func step(timeoutNanoseconds: UInt64) -> Bool {
        var hasInput = false
        let patience = min(timeoutNanoseconds, Self.timerIntervalNanoseconds)
        let count = loop.wait(timeoutNanoseconds: Int64(patience))
        for event in 0..<count {
            let token = loop.token(at: event)
            if token == Self.standardInputToken {
                hasInput = true
            } else {
                receive(port: Int(token / 2), isControl: token % 2 == 1)
            }
        }
        let now = Clock.monotonicNanoseconds()
        if now >= nextTimerScan {
            nextTimerScan = now + Self.timerIntervalNanoseconds
            let wallClock = WallClock.now
            for place in peers.indices {
                let device = peers[place].device
                guard let deadline = device.nextDeadline, deadline <= now else { continue }
                device.advance(now: now, wallClock: wallClock)
                performActions(of: place, now: now)
            }
        }
        return hasInput
    }

    private func receive(port: Int, isControl: Bool) {
        let socket = isControl ? groups[port].controlSocket : groups[port].dataSockets[0]
        let count = socket.receive(receives, limit: receives.messageCapacity)
        guard count > 0 else { return }
        let now = Clock.monotonicNanoseconds()
        for index in 0..<count {
            let whole = receives.region(index)
            let segment = receives.segmentByteCount(index)
            var offset = 0
            while offset < whole.count {
                let length = segment > 0 ? min(segment, whole.count - offset) : whole.count
                take(whole.region(at: offset, count: length), port: port, now: now)
                offset += length
            }
        }
    }

    private func take(_ datagram: ByteRegion, port: Int, now: UInt64) {
        switch WireGuardMessage.type(of: datagram) {
        case .invalid: counts.strays += 1
        case .message(.transportData): takeData(datagram, port: port, now: now)
        case .message(.response):
            let offset = WireGuardMessage.Response.receiverIndexOffset
            takeAnswer(datagram, index: datagram.littleEndian32(at: offset), port: port, now: now)
        case .message(.cookieReply):
            counts.cookies += 1
            let offset = WireGuardMessage.CookieReply.receiverIndexOffset
            takeAnswer(datagram, index: datagram.littleEndian32(at: offset), port: port, now: now)
        case .message(.initiation): takeInitiation(datagram, port: port, now: now)
        }
    }

    private func takeData(_ datagram: ByteRegion, port: Int, now: UInt64) {
        let index = datagram.littleEndian32(
            at: WireGuardMessage.TransportData.receiverIndexOffset)
        guard let (session, place) = sessions[Self.key(port, index)],
            session.isUsableForReceiving(now: now),
            let packet = session.open(datagram: datagram, with: cipher)
        else {
            counts.strays += 1
            return
        }
        let counter = datagram.littleEndian64(at: WireGuardMessage.TransportData.counterOffset)
        guard session.acceptCounter(counter) else { return }
        let peer = peers[place]
        let isConfirming = session.confirm()
        if packet.count > 0 {
            counts.receivedPackets += 1
            counts.receivedBytes += packet.count
        }
        let needsTimer = peer.activity.packetReceived(
            isData: packet.count > 0, byteCount: datagram.count, now: now)
        guard isConfirming || needsTimer else { return }
        if isConfirming { peer.device.sessionConfirmed(session, now: now) }
        if needsTimer { peer.device.noteActivity(peer.gateway, now: now) }
        performActions(of: place, now: now)
    }

    /// A response or a cookie reply, to the peer that waits for it.
    private func takeAnswer(_ datagram: ByteRegion, index: UInt32, port: Int, now: UInt64) {
        guard let place = initiators[Self.key(port, index)] else {
            counts.strays += 1
            return
        }
        _ = peers[place].device.receive(
            datagram, from: gateway, now: now, wallClock: .now, isUnderLoad: false)
        performActions(of: place, now: now)
    }

    /// An initiation says by its first MAC alone whom it is for.
    private func takeInitiation(_ datagram: ByteRegion, port: Int, now: UInt64) {
        for place in peers.indices where peers[place].port == port {
            let outcome = peers[place].device.receive(
                datagram, from: gateway, now: now, wallClock: .now, isUnderLoad: false)
            if outcome == .dropped(.invalidMAC1) { continue }
            return performActions(of: place, now: now)
        }
        counts.strays += 1
    }

    // MARK: Actions

    func performActions(of place: Int, now: UInt64) {
        let peer = peers[place]
        while let action = peer.device.actions.popFirst() {
            switch action {
            case .sendHandshake(let message, _, _):
                if message.kind == .initiation { noteInitiation(message, of: place) }
                send(message, of: peer)
            case .install(let session, let use):
                sessions[Self.key(peer.port, session.localIndex)] = (session, place)
                guard use == .sending else { continue }
                peer.sending = session
                noteCompletion(of: place)
            case .promote(let session):
                peer.sending = session
                noteCompletion(of: place)
            case .retire(let session):
                sessions[Self.key(peer.port, session.localIndex)] = nil
            case .stopSending:
                peer.sending = nil
            case .sendStagedOrKeepalive, .sendKeepalive:
                sendKeepalive(of: peer, now: now)
            case .discardStaged, .endpointChanged, .sendProbe, .limitPackets:
                break
            }
        }
    }

    private func noteInitiation(_ message: HandshakeMessage, of place: Int) {
        let peer = peers[place]
        counts.initiations += 1
        if let former = peer.pendingIndex { initiators[Self.key(peer.port, former)] = nil }
        let offset = WireGuardMessage.Initiation.senderIndexOffset
        let index = (0..<4).reduce(UInt32(0)) {
            $0 | UInt32(message.bytes[offset + $1]) << UInt32(8 * $1)
        }
        peer.pendingIndex = index
        initiators[Self.key(peer.port, index)] = place
    }

    private func noteCompletion(of place: Int) {
        let peer = peers[place]
        if let index = peer.pendingIndex { initiators[Self.key(peer.port, index)] = nil }
        peer.pendingIndex = nil
        handshakeCompleted(place)
    }

    private func send(_ message: HandshakeMessage, of peer: EmulatedPeer) {
        ByteArena.withCopy(of: message.bytes) { region in
            let sent = socket(of: peer.port).send(region, to: destinations[peer.port])
            if sent < 0 { counts.sendFailures += 1 }
        }
    }

    private func sendKeepalive(of peer: EmulatedPeer, now: UInt64) {
        guard let session = peer.usableSession(now: now),
            let counter = session.reserveCounters(1)
        else { return }
        let length = session.seal(
            counter: counter, packet: small.whole.prefix(0), into: small.whole, with: cipher)
        _ = socket(of: peer.port).send(small.whole.prefix(length), to: destinations[peer.port])
        _ = peer.activity.packetSent(isData: false, byteCount: length, now: now)
        counts.keepalives += 1
    }

    func socket(of port: Int) -> UDPSocket { groups[port].dataSockets[0] }

    private static func key(_ port: Int, _ index: UInt32) -> UInt64 {
        UInt64(port) << 32 | UInt64(index)
    }
}

extension WallClock {
    static var now: WallClock {
        let (seconds, nanoseconds) = Clock.wallClock()
        return WallClock(seconds: Int64(seconds), nanoseconds: nanoseconds)
    }
}
