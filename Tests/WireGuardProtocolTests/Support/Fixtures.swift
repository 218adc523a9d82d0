import Cryptography
import PacketFormats
import PacketMemory
import Synchronization
import Testing

@testable import WireGuardProtocol

let second: UInt64 = 1_000_000_000
let millisecond: UInt64 = 1_000_000

extension Endpoint {
    /// 192.0.2.`host`, port `port`.
    static func test(_ host: UInt8, port: UInt16 = 51820) -> Endpoint {
        Endpoint(address: IPAddress(ipv4: 0xc000_0200 | UInt32(host)), port: port)
    }
}

extension WallClock {
    /// A moment in 2025, some nanoseconds later.
    static func test(_ elapsed: UInt64 = 0) -> WallClock {
        WallClock(
            seconds: 1_750_000_000 + Int64(elapsed / second), nanoseconds: UInt32(elapsed % second))
    }
}

extension PrivateKey {
    static func seeded(_ seed: UInt8) -> PrivateKey {
        var secret = Secret32()
        secret.withMutableBytes { $0.fill(with: seed) }
        return PrivateKey(clamping: secret)
    }
}

extension Optional {
    /// The value, or a failure of the test.
    func orThrow() throws -> Wrapped { try #require(self) }
}

extension ActionQueue {
    mutating func drain() -> [Action] {
        var actions: [Action] = []
        while let action = popFirst() { actions.append(action) }
        return actions
    }
}

extension WireGuardDevice {
    /// Takes a datagram given as an array.
    func receive(
        _ bytes: [UInt8], from source: Endpoint, now: UInt64, isUnderLoad: Bool = false
    ) -> ReceiveOutcome {
        ByteArena.withCopy(of: bytes) {
            receive(
                $0, from: source, now: now, wallClock: .test(now), isUnderLoad: isUnderLoad)
        }
    }

    /// Begins a handshake, whatever sessions there are, and returns its initiation.
    func initiate(_ id: PeerID, now: UInt64) -> [UInt8]? {
        guard let peer = peer(id), activity(id)?.requestHandshake() == true else { return nil }
        beginHandshake(peer, now: now, wallClock: .test(now))
        return actions.drain().handshake(.initiation)
    }
}

extension [Action] {
    /// The first handshake datagram of a kind.
    func handshake(_ kind: WireGuardMessage.Kind) -> [UInt8]? {
        for case .sendHandshake(let message, _, _) in self where message.kind == kind {
            return message.bytes
        }
        return nil
    }

    var installed: Session? {
        for case .install(let session, _) in self { return session }
        return nil
    }

    var retired: [Session] {
        compactMap { if case .retire(let session) = $0 { session } else { nil } }
    }

    /// Names of the actions, in order.
    var names: [String] {
        map { action in
            switch action {
            case .sendHandshake(let message, _, _): "\(message.kind)"
            case .install(_, let use): "install(\(use))"
            case .promote: "promote"
            case .retire: "retire"
            case .stopSending: "stopSending"
            case .sendStagedOrKeepalive: "sendStagedOrKeepalive"
            case .sendKeepalive: "sendKeepalive"
            case .sendProbe: "sendProbe"
            case .limitPackets(_, let byteCount): "limitPackets(\(byteCount))"
            case .discardStaged: "discardStaged"
            case .endpointChanged: "endpointChanged"
            }
        }
    }
}

/// Two devices that know each other, without a network between them.
struct Pair {
    let left = WireGuardDevice(workerCount: 2, random: .seeded(1))
    let right = WireGuardDevice(workerCount: 2, random: .seeded(2))
    let leftKey = PrivateKey.seeded(11)
    let rightKey = PrivateKey.seeded(22)
    let leftEndpoint = Endpoint.test(1)
    let rightEndpoint = Endpoint.test(2)
    /// Number of the right device at the left one, and the other way round.
    let rightID: PeerID
    let leftID: PeerID

    /// - Parameters:
    ///   - profile: What both are configured for.
    ///   - rightProfile: What the right device is configured for instead.
    init(_ profile: TunnelProfile = .wireguard, right rightProfile: TunnelProfile? = nil) throws {
        left.setPrivateKey(leftKey, now: 0)
        right.setPrivateKey(rightKey, now: 0)
        rightID = try left.addPeer(rightKey.publicKey, now: 0).orThrow()
        leftID = try right.addPeer(leftKey.publicKey, now: 0).orThrow()
        left.setEndpoint(rightID, rightEndpoint, now: 0)
        right.setEndpoint(leftID, leftEndpoint, now: 0)
        left.setProfile(rightID, profile, now: 0)
        right.setProfile(leftID, rightProfile ?? profile, now: 0)
        _ = left.actions.drain()
        _ = right.actions.drain()
    }

    /// A handshake from left to right, all the way to the confirmation.
    func handshake(now: UInt64) throws -> (left: Session, right: Session) {
        let initiation = try left.initiate(rightID, now: now).orThrow()
        #expect(right.receive(initiation, from: leftEndpoint, now: now) == .accepted(leftID))
        let answers = right.actions.drain()
        let response = try answers.handshake(.response).orThrow()
        let rightSession = try answers.installed.orThrow()
        #expect(left.receive(response, from: rightEndpoint, now: now) == .accepted(rightID))
        let leftSession = try left.actions.drain().installed.orThrow()
        #expect(rightSession.confirm())
        right.sessionConfirmed(rightSession, now: now)
        return (leftSession, rightSession)
    }
}

extension Session {
    /// Moves the counter on, as if messages had been sent.
    func skipCounters(to counter: UInt64) { nextCounter.store(counter, ordering: .relaxed) }

    /// One message as an array.
    func sealed(_ packet: [UInt8], counter: UInt64) -> [UInt8] {
        let output = ByteArena(count: packet.count + WireGuardMessage.TransportData.overhead)
        return ByteArena.withCopy(of: packet) {
            let count = seal(
                counter: counter, packet: $0, into: output.whole, with: PacketCipher())
            return output.whole.prefix(count).bytes
        }
    }

    /// What a message given as an array says; `nil` if it is not authentic.
    func opened(_ message: [UInt8]) -> [UInt8]? {
        ByteArena.withCopy(of: message) { open(datagram: $0, with: PacketCipher())?.bytes }
    }
}

extension TunnelProfile {
    static let hybrids: [TunnelProfile] = [.branchlineChaCha, .branchlineAES]
}

/// The message with a `mac1` that fits what it says now.
func sealedAnew(_ message: [UInt8], _ receiver: PrivateKey) -> [UInt8] {
    ByteArena.withCopy(of: message) { region in
        let key = MessageMAC.mac1Key(of: receiver.publicKey)
        MessageMAC.mac1(of: region, key: key).write(to: MessageMAC.mac1Field(region))
        return region.bytes
    }
}
