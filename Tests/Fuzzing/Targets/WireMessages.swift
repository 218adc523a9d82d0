import Cryptography
import PacketFormats
import PacketMemory
import WireGuardProtocol

/// Datagrams from anywhere, on a device and its peer over virtual time.
///
/// The input is a list of steps: time passes, datagrams of either device are delivered, altered,
/// repeated or dropped, bytes of the fuzzer's own arrive, which are read as answers to probes of
/// the path as well. The devices have one profile or two.
/// Claims: nothing traps; altered transport data does not open, nor does that of another profile; a
/// counter is accepted once; no session is of another profile than the peer; no path is said to
/// carry less than the least or more than a packet; a device has nothing to do after its pass.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzWireMessages(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    var input = FuzzInput(start, count)
    var network = Network(input.byte())
    for _ in 0..<stepsMax where !input.isAtEnd { network.step(&input) }
    return 0
}

private let stepsMax = 256

/// Two devices that are each other's peer, and the datagrams between them.
private struct Network {
    private var ends: [End]
    private var flying: [Datagram] = []
    private var now: UInt64 = 1_000_000_000
    private let cipher = sharedCipher

    init(_ options: UInt8) {
        ends = [End(seed: 1), End(seed: 2)]
        for index in 0..<2 {
            ends[index].connect(
                to: ends[1 - index], index, now: now, hasPresharedKey: options & 1 != 0,
                keepaliveSeconds: options & 2 != 0 ? 1 : 0,
                profile: Self.profile(options >> (index == 0 ? 4 : 6)))
        }
        drain()
    }

    private static func profile(_ choice: UInt8) -> TunnelProfile {
        TunnelProfile.allCases[Int(choice & 3) % 3]
    }

    mutating func step(_ input: inout FuzzInput) {
        let choice = input.byte()
        let end = Int(choice >> 7)
        switch choice % 8 {
        case 0: now &+= UInt64(input.byte()) * 1_000_000
        case 1: now &+= UInt64(input.byte()) * 1_000_000_000
        case 2: requestHandshake(end)
        case 3: deliver(altered: false, &input)
        case 4: deliver(altered: true, &input)
        case 5: sendData(end, &input)
        case 6:
            let bytes = input.take(input.uint16() % datagramBytesMax)
            receive(
                Datagram(bytes: bytes, to: end, isGenuine: false), isUnderLoad: choice & 64 != 0)
        default: changeSettings(end, input.byte())
        }
        for index in 0..<2 {
            ends[index].device.advance(now: now, wallClock: wallClock)
            claim(ends[index].device.nextDeadline.map { $0 > now } ?? true, "a pass does not end")
        }
        drain()
    }

    private var wallClock: WallClock {
        WallClock(
            seconds: 1_700_000_000 + Int64(now / 1_000_000_000),
            nanoseconds: UInt32(now % 1_000_000_000))
    }

    private mutating func requestHandshake(_ end: Int) {
        guard let peer = ends[end].peer, let activity = ends[end].device.activity(peer) else {
            return
        }
        if activity.requestHandshake() { ends[end].device.noteActivity(peer, now: now) }
    }

    /// Takes one datagram out of the air; the input says which, and whether a copy stays.
    private mutating func deliver(altered: Bool, _ input: inout FuzzInput) {
        guard !flying.isEmpty else { return }
        let choice = input.byte()
        let index = Int(choice >> 1) % flying.count
        var datagram = choice & 1 == 1 ? flying[index] : flying.remove(at: index)
        if altered, !datagram.bytes.isEmpty {
            let change = input.byte()
            let offset = input.uint16() % datagram.bytes.count
            if change == 0 {
                datagram.bytes.removeLast(offset + 1)
            } else {
                datagram.bytes[offset] ^= change
            }
            if choice & 0x20 != 0 { seal(&datagram) }
            datagram.isGenuine = false
        }
        receive(datagram, isUnderLoad: choice & 0x40 != 0)
    }

    /// Gives a message a `mac1` that fits, as who knows the receiver's public key can.
    private func seal(_ datagram: inout Datagram) {
        let end = datagram.bytes.count - 32
        guard end > 0 else { return }
        let key = BLAKE2s.hash(
            Array("mac1----".utf8) + ends[datagram.to].key.publicKey.bytes)
        var covered = Array(datagram.bytes[..<end])
        // Profile `branchline` takes the MAC of the hash.
        if covered.count > 1, covered[1] == 1 { covered = BLAKE2s.hash(covered).bytes }
        let mac = key.withBytes { key in
            ByteArena.withCopy(of: covered) { BLAKE2s.mac(key: key, $0) }
        }
        datagram.bytes.replaceSubrange(end..<end + 16, with: mac.bytes)
    }

    private mutating func sendData(_ end: Int, _ input: inout FuzzInput) {
        guard let session = ends[end].sending, session.isUsableForSending(now: now),
            let counter = session.reserveCounters(1 + Int(input.byte()) * 64)
        else { return }
        let packet = [UInt8](repeating: 0x45, count: Int(input.byte()) & ~15)
        let arena = ByteArena(count: packet.count + WireGuardMessage.TransportData.overhead)
        let count = ByteArena.withCopy(of: packet) {
            session.seal(counter: counter, packet: $0, into: arena.whole, with: cipher)
        }
        flying.append(
            Datagram(
                bytes: arena.whole.prefix(count).bytes, to: 1 - end, isGenuine: true,
                profile: session.profile))
        let isNew = session.activity.packetSent(
            isData: !packet.isEmpty, byteCount: count, now: now)
        if isNew { ends[end].device.noteActivity(session.peer, now: now) }
    }

    private mutating func receive(_ datagram: Datagram, isUnderLoad: Bool) {
        ByteArena.withCopy(of: datagram.bytes) { region in
            readControlFrames(region, of: datagram.to)
            if case .message(.transportData) = WireGuardMessage.type(of: region) {
                receiveData(region, datagram)
            } else {
                let source = End.endpoint(1 - datagram.to)
                _ = ends[datagram.to].device.receive(
                    region, from: source, now: now, wallClock: wallClock, isUnderLoad: isUnderLoad)
                claim(region.bytes == datagram.bytes, "receiving changed the datagram")
            }
        }
    }

    private func readControlFrames(_ region: ByteRegion, of end: Int) {
        guard var frames = ControlFrames(region) else { return }
        var count = 0
        while let frame = frames.next() {
            claim(frame.type != ControlFrame.padding, "padding is handed out")
            count += ControlFrame.headerCount + frame.value.count
            let isProbe = PathProbe.Received(frame) != nil
            claim(!isProbe || frame.type == PathProbe.frameType, "another type is a probe")
            if let answer = PathAnswer(frame) { take(answer, at: end) }
        }
        claim(count <= region.count, "frames are longer than what they lie in")
    }

    /// Takes an answer, whatever it says, to a probe that was sent.
    private func take(_ answer: PathAnswer, at end: Int) {
        guard let peer = ends[end].peer else { return }
        var answer = answer
        if let probe = ends[end].probe(Int(answer.number >> 1)) {
            answer.number = probe.number
            if answer.session & 1 == 0 {
                answer.datagramByteCount = UInt16(clamping: probe.datagramByteCount)
            }
        }
        let device = ends[end].device
        let sample = device.pathAnswered(peer, answer, arrivedAt: now / 1_000, now: now)
        claim(sample.map { $0.roundTrip <= 60_000_000_000 } ?? true, "a round trip of minutes")
        guard let mtu = device.pathMTU(peer), let path = device.pathEstimate(peer) else { return }
        claim((1_200...65_600).contains(mtu), "a path MTU of \(mtu)")
        claim(path.lossShare.map { $0 >= 0 && $0 <= 1 } ?? true, "no share")
    }

    private mutating func receiveData(_ region: ByteRegion, _ datagram: Datagram) {
        let index = region.littleEndian32(at: WireGuardMessage.TransportData.receiverIndexOffset)
        let counter = region.littleEndian64(at: WireGuardMessage.TransportData.counterOffset)
        guard let session = ends[datagram.to].sessions[index],
            session.isUsableForReceiving(now: now)
        else { return }
        guard session.open(datagram: region, with: cipher) != nil else {
            claim(!datagram.isGenuine, "genuine transport data does not open")
            return
        }
        claim(datagram.isGenuine, "altered transport data opens")
        claim(datagram.profile == session.profile, "data of another profile opens")
        let isNew = ends[datagram.to].accepted[index, default: []].insert(counter).inserted
        let isAccepted = session.acceptCounter(counter)
        claim(isNew || !isAccepted, "a counter is accepted twice")
        if session.confirm() { ends[datagram.to].device.sessionConfirmed(session, now: now) }
        let device = ends[datagram.to].device
        if session.activity.packetReceived(
            isData: datagram.bytes.count > WireGuardMessage.TransportData.overhead,
            byteCount: datagram.bytes.count, now: now)
        {
            device.noteActivity(session.peer, now: now)
        }
    }

    private mutating func changeSettings(_ end: Int, _ choice: UInt8) {
        let device = ends[end].device
        guard let peer = ends[end].peer else {
            ends[end].connect(
                to: ends[1 - end], end, now: now, hasPresharedKey: false, keepaliveSeconds: 0,
                profile: Self.profile(choice >> 3))
            return
        }
        switch choice % 8 {
        case 0:
            device.setPersistentKeepalive(peer, seconds: UInt16(choice), now: now)
            device.setPacketMax(Int(choice) * 257)
        case 1: device.setEndpoint(peer, choice & 128 != 0 ? End.endpoint(1 - end) : nil, now: now)
        case 2: device.endpointChanged(peer, End.endpoint(Int(choice)))
        case 3:
            device.expireAllKeys()
            device.setPathInterval(UInt64(choice) * 1_000_000)
        case 4:
            device.removePeer(peer)
            ends[end].peer = nil
        case 5: device.setPresharedKey(peer, choice & 128 != 0 ? End.presharedKey : nil)
        case 6: device.setProfile(peer, Self.profile(choice >> 3), now: now)
        default: device.setPrivateKey(choice & 128 != 0 ? ends[end].key : nil, now: now)
        }
    }

    /// Does what the devices ask for.
    private mutating func drain() {
        for index in 0..<2 {
            while let action = ends[index].device.actions.popFirst() {
                if let bytes = ends[index].perform(action) {
                    flying.append(Datagram(bytes: bytes, to: 1 - index, isGenuine: true))
                }
            }
        }
        if flying.count > flyingMax { flying.removeFirst(flying.count - flyingMax) }
    }
}

private struct Datagram {
    var bytes: [UInt8]
    var to: Int
    var isGenuine: Bool
    /// Of the session that sealed it.
    var profile: TunnelProfile?
}

/// One device with what its owner keeps.
private struct End {
    let device: WireGuardDevice
    let key: PrivateKey
    var peer: PeerID?
    var sending: Session?
    var sessions: [UInt32: Session] = [:]
    var accepted: [UInt32: Set<UInt64>] = [:]
    private var probes: [PathProbe] = []

    init(seed: UInt8) {
        let state = Generator(seed)
        device = WireGuardDevice(workerCount: 2, random: RandomSource { state.fill($0) })
        key = keys[Int(seed) - 1]
        device.setPrivateKey(key, now: 0)
    }

    static func endpoint(_ index: Int) -> Endpoint {
        Endpoint(address: IPAddress(ipv4: 0x0A00_0001 + UInt32(index)), port: 51820)
    }

    static let presharedKey = PresharedKey(bytes: [UInt8](repeating: 7, count: 32))

    mutating func connect(
        to other: End, _ index: Int, now: UInt64, hasPresharedKey: Bool,
        keepaliveSeconds: UInt16, profile: TunnelProfile
    ) {
        guard let peer = device.addPeer(other.key.publicKey, now: now) else { return }
        self.peer = peer
        if hasPresharedKey { device.setPresharedKey(peer, Self.presharedKey) }
        device.setProfile(peer, profile, now: now)
        device.setEndpoint(peer, Self.endpoint(1 - index), now: now)
        device.setPersistentKeepalive(peer, seconds: keepaliveSeconds, now: now)
    }

    /// One of the last probes; `nil` before the first.
    func probe(_ choice: Int) -> PathProbe? {
        probes.isEmpty ? nil : probes[choice % probes.count]
    }

    /// - Returns: A datagram to be sent.
    mutating func perform(_ action: Action) -> [UInt8]? {
        switch action {
        case .sendHandshake(let message, to: _, peer: _): return message.bytes
        case .install(let session, let use):
            claim(sessions[session.localIndex] == nil, "an index is given out twice")
            claim(session.profile == device.profile(session.peer), "a session of another profile")
            sessions[session.localIndex] = session
            accepted[session.localIndex] = []
            if case .sending = use { sending = session }
        case .promote(let session): sending = session
        case .retire(let session):
            sessions[session.localIndex] = nil
            if sending === session { sending = nil }
        case .stopSending: sending = nil
        case .sendProbe(_, let probe): probes = Array((probes + [probe]).suffix(probesMax))
        case .limitPackets(_, let byteCount):
            claim((1_200...65_535).contains(byteCount), "packets of \(byteCount) bytes")
        case .sendStagedOrKeepalive, .sendKeepalive, .discardStaged, .endpointChanged: break
        }
        return nil
    }
}

/// Deterministic bytes (SplitMix64), so that a crash repeats.
private final class Generator: @unchecked Sendable {
    // One thread runs the target.
    private var state: UInt64

    init(_ seed: UInt8) { state = UInt64(seed) }

    func fill(_ region: ByteRegion) {
        for offset in 0..<region.count {
            state &+= 0x9E37_79B9_7F4A_7C15
            var word = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
            word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
            region[offset] = UInt8(truncatingIfNeeded: word >> 31)
        }
    }
}

private let keys = [UInt8(1), 2].compactMap {
    PrivateKey(bytes: [UInt8](repeating: $0, count: 32))
}
nonisolated(unsafe) private let sharedCipher = PacketCipher()
private let datagramBytesMax = 1_400
private let flyingMax = 64
private let probesMax = 8
