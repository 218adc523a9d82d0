import Cryptography
import PacketFormats
import PacketMemory

@testable import WireGuardProtocol

/// One end of a tunnel: a device, and the data path's tables as a worker keeps them.
///
/// The worker sends with a session from the moment that it confirms it, before the device hears of
/// that; what the device asks for replaces the worker's choice. Usually both hear of each other at
/// once; an end that lags waits for ``workerCatchesUp(now:wallClock:)`` and
/// ``deviceCatchesUp(now:wallClock:)``.
final class SimulatedNode {
    let name: String
    private(set) var key: PrivateKey
    let endpoint: () -> Endpoint
    let transmit: (_ datagram: [UInt8], _ to: Endpoint) -> Void
    private(set) var device: WireGuardDevice
    private(set) var peer: PeerID = 0
    private let cipher = PacketCipher()
    private let packet = ByteArena(count: 256)
    private let datagram = ByteArena(count: 256)

    private var receiving: [UInt32: Session] = [:]
    private(set) var sending: Session?
    /// Whether the end forgets its own initiation when it reads the peer's, as the kernel and
    /// wireguard-go do: no response to it is any good then.
    var isStock = false
    /// Whether actions and reports wait.
    var isLagging = false
    /// Actions that the worker has not seen.
    private var posted: [Action] = []
    /// Sessions that the worker confirmed, and the device does not know of that.
    private var reports: [Session] = []
    private var peerEndpoint: Endpoint?
    private(set) var staged: [UInt64] = []

    /// Names of the packets that arrived, in order.
    private(set) var delivered: [UInt64] = []
    private(set) var deliveredSet: Set<UInt64> = []
    /// Times that the control path was told something by the data path.
    private(set) var wakeUpCount = 0
    private(set) var drops: [DropReason: Int] = [:]
    /// What must never happen, in words.
    private(set) var violations: [String] = []

    init(
        _ name: String, key: PrivateKey, seed: UInt64, endpoint: @escaping () -> Endpoint,
        transmit: @escaping ([UInt8], Endpoint) -> Void
    ) {
        self.name = name
        self.key = key
        self.endpoint = endpoint
        self.transmit = transmit
        device = WireGuardDevice(workerCount: 3, random: .seeded(seed))
        device.setPrivateKey(key, now: 0)
    }

    /// Begins anew with nothing but the configuration, as a process that was started again.
    func restart(
        peerKey: PublicKey, peerEndpoint: Endpoint?, keepalive: UInt16 = 0,
        profile: TunnelProfile = .wireguard, seed: UInt64, now: UInt64, wallClock: WallClock
    ) {
        device = WireGuardDevice(workerCount: 3, random: .seeded(seed))
        receiving = [:]
        sending = nil
        posted = []
        reports = []
        self.peerEndpoint = nil
        staged = []
        device.setPrivateKey(key, now: now)
        peer = device.addPeer(peerKey, now: now) ?? -1
        device.setProfile(peer, profile, now: now)
        device.setEndpoint(peer, peerEndpoint, now: now)
        device.setPersistentKeepalive(peer, seconds: keepalive, now: now)
        settle(now, wallClock)
    }

    // MARK: Events

    func advance(now: UInt64, wallClock: WallClock) {
        device.advance(now: now, wallClock: wallClock)
        settle(now, wallClock)
    }

    /// An inner packet, known by a number, wants to leave.
    func send(_ number: UInt64, now: UInt64, wallClock: WallClock) {
        guard peerEndpoint != nil else { return count(.noEndpoint) }
        if sending?.isUsableForSending(now: now) == true {
            emit(number, now: now)
        } else {
            if staged.count == 128 { staged.removeFirst() }
            staged.append(number)
            if device.activity(peer)?.requestHandshake() == true { wake(now) }
        }
        settle(now, wallClock)
    }

    func receive(_ bytes: [UInt8], from source: Endpoint, now: UInt64, wallClock: WallClock) {
        ByteArena.withCopy(of: bytes) { region in
            if WireGuardMessage.type(of: region) == .message(.transportData) {
                receiveData(region, source, now)
            } else {
                let outcome = device.receive(
                    region, from: source, now: now, wallClock: wallClock, isUnderLoad: false)
                if case .dropped(let reason) = outcome { count(reason) }
                if isStock, bytes.first == 1, outcome == .accepted(peer),
                    let peer = device.peer(peer)
                {
                    device.dropPending(peer)
                }
            }
        }
        settle(now, wallClock)
    }

    /// Begins a handshake although there is a session, as unanswered data does.
    func beginHandshake(now: UInt64, wallClock: WallClock) {
        guard let peer = device.peer(peer) else { return }
        device.beginHandshake(peer, now: now, wallClock: wallClock)
        settle(now, wallClock)
    }

    /// The end gets another key of its own; its peer may hear of that earlier or later.
    func rotate(to key: PrivateKey, now: UInt64, wallClock: WallClock) throws {
        self.key = key
        try device.rotatePrivateKey(key, now: now)
        settle(now, wallClock)
    }

    /// The end hears of its peer's other key.
    func replacePeerKey(with key: PublicKey, now: UInt64, wallClock: WallClock) throws {
        try device.replacePublicKey(of: peer, with: key, now: now)
        settle(now, wallClock)
    }

    /// The worker does what it was asked for.
    func workerCatchesUp(now: UInt64, wallClock: WallClock) {
        applyPosted(now)
        settle(now, wallClock)
    }

    /// The device hears of the oldest session that the worker confirmed.
    func deviceCatchesUp(now: UInt64, wallClock: WallClock) {
        guard !reports.isEmpty else { return }
        device.sessionConfirmed(reports.removeFirst(), now: now)
        settle(now, wallClock)
    }

    var isBehind: Bool { !posted.isEmpty || !reports.isEmpty }

    // MARK: Data path

    private func receiveData(_ region: ByteRegion, _ source: Endpoint, _ now: UInt64) {
        // A session is installed before its first datagram is looked up.
        applyPosted(now)
        let index = region.littleEndian32(at: WireGuardMessage.TransportData.receiverIndexOffset)
        let counter = region.littleEndian64(at: WireGuardMessage.TransportData.counterOffset)
        guard let session = receiving[index] else { return count(.unknownReceiverIndex) }
        guard session.isUsableForReceiving(now: now) else { return count(.sessionExpired) }
        guard let inner = session.open(datagram: region, with: cipher) else {
            return count(.authenticationFailed)
        }
        guard session.acceptCounter(counter) else { return count(.replayed) }
        let isData = inner.count > 0
        if session.activity.packetReceived(isData: isData, byteCount: region.count, now: now) {
            wake(now)
        }
        if session.confirm() {
            wakeUpCount += 1
            sending = session
            reports.append(session)
            if !isLagging { device.sessionConfirmed(reports.removeFirst(), now: now) }
        }
        if source != peerEndpoint { device.endpointChanged(peer, source) }
        if session.needsRekeyAfterReceiving(now: now), session.activity.requestHandshake() {
            wake(now)
        }
        guard isData else { return }
        let number = inner.littleEndian64(at: 0)
        if !deliveredSet.insert(number).inserted { violations.append("\(name): twice \(number)") }
        delivered.append(number)
    }

    /// Encrypts and sends one packet, or a keepalive for `nil`.
    private func emit(_ number: UInt64?, now: UInt64) {
        guard let session = sending, session.isUsableForSending(now: now),
            let peerEndpoint, let counter = session.reserveCounters(1)
        else { return }
        if session !== device.currentSession(peer), !isLagging {
            violations.append("\(name): sends with a session that is not the current one")
        }
        let inner = packet.whole.prefix(number == nil ? 0 : 16)
        if let number {
            inner.storeLittleEndian(number, at: 0)
            inner.storeLittleEndian(UInt64(0), at: 8)
        }
        let size = session.seal(counter: counter, packet: inner, into: datagram.whole, with: cipher)
        transmit(datagram.whole.prefix(size).bytes, peerEndpoint)
        if session.activity.packetSent(isData: number != nil, byteCount: size, now: now) {
            wake(now)
        }
        if session.needsRekeyAfterSending(now: now), session.activity.requestHandshake() {
            wake(now)
        }
    }

    private func sendStaged(now: UInt64) {
        let waiting = staged
        staged = []
        for number in waiting { emit(number, now: now) }
    }

    private func wake(_ now: UInt64) {
        wakeUpCount += 1
        device.noteActivity(peer, now: now)
    }

    private func count(_ reason: DropReason) { drops[reason, default: 0] += 1 }

    // MARK: Actions

    /// Does what the device asks for until it is content.
    private func settle(_ now: UInt64, _ wallClock: WallClock) {
        while true {
            if let deadline = device.nextDeadline, deadline <= now {
                device.advance(now: now, wallClock: wallClock)
            }
            guard let action = device.actions.popFirst() else {
                guard let deadline = device.nextDeadline, deadline <= now else { return }
                continue
            }
            perform(action, now)
        }
    }

    private func perform(_ action: Action, _ now: UInt64) {
        if case .sendHandshake(let message, let target, _) = action {
            return transmit(message.bytes, target)
        }
        posted.append(action)
        if !isLagging { applyPosted(now) }
    }

    private func applyPosted(_ now: UInt64) {
        let actions = posted
        posted = []
        for action in actions { apply(action, now) }
    }

    private func apply(_ action: Action, _ now: UInt64) {
        switch action {
        case .sendHandshake: break
        case .install(let session, let use):
            if receiving.updateValue(session, forKey: session.localIndex) != nil {
                violations.append("\(name): index \(session.localIndex) installed twice")
            }
            if use == .sending { sending = session }
            // Current, next and former ones; what this one replaces goes after it.
            if receiving.count > ImplementationLimits.formerSessionCountMax + 3 {
                violations.append("\(name): sessions are not retired")
            }
        case .promote(let session):
            sending = session
            sendStaged(now: now)
        case .retire(let session):
            if receiving.removeValue(forKey: session.localIndex) !== session {
                violations.append("\(name): retired a session that was not installed")
            }
            if sending === session, !isLagging {
                violations.append("\(name): retired the sending session")
            }
        case .stopSending:
            sending = nil
        case .sendStagedOrKeepalive:
            if staged.isEmpty { emit(nil, now: now) } else { sendStaged(now: now) }
        case .sendKeepalive:
            emit(nil, now: now)
        case .discardStaged:
            staged = []
        case .endpointChanged(_, let endpoint):
            peerEndpoint = endpoint
        case .sendProbe, .limitPackets:
            break
        }
    }
}
