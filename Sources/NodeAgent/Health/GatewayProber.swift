import ControlModel
import Cryptography
import LinuxNetworking
import Logging
import PacketFormats
import PacketMemory
import TunnelEngine
import WireGuardConfiguration

/// Asks targets through every gateway, and tells the tunnel which gateways work.
///
/// 1. What the view says of gateways comes in (``set(_:addresses:)``).
/// 2. Questions that are due leave by ``TunnelControl/inject(_:)``, each through its gateway.
/// 3. Answers come back by ``TunnelControl/answers``, in parallel with 2.
/// 4. What changed by answers, or by their absence, goes to the tunnel.
actor GatewayProber {
    private let control: TunnelControl
    private let log: Logger
    /// Hears of every change of a gateway's level.
    private let report: @Sendable ([GatewayReport]) async -> Void
    private var health = GatewayHealth()
    private var addresses: [IPAddress] = []
    private var names: [PublicKey: String] = [:]
    private let identifier = UInt16(truncatingIfNeeded: SecureRandom.uint32())
    private var sequence: UInt16 = 0
    private var watched: ProbeMarks?
    private let changes: AsyncStream<Void>
    private let changed: AsyncStream<Void>.Continuation

    init(
        control: TunnelControl, log: Logger,
        report: @escaping @Sendable ([GatewayReport]) async -> Void
    ) {
        self.control = control
        self.log = log
        self.report = report
        (changes, changed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// - Parameter addresses: The node's own in the tunnel, at most one of a family is used.
    func set(_ gateways: [GatewayHealth.Gateway], addresses: Set<IPPrefix>) {
        self.addresses = addresses.map(\.address).sorted()
        names = Dictionary(gateways.map { ($0.publicKey, $0.name) }, uniquingKeysWith: { $1 })
        health.set(gateways)
        changed.yield()
    }

    /// The tunnel was made anew.
    func forgetTold() {
        health.forgetTold()
        watched = nil
        changed.yield()
    }

    /// Serves until the task is cancelled.
    func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.listen() }
            group.addTask { await self.takeChanges() }
            group.addTask { await self.ask() }
        }
    }

    private func takeChanges() async {
        for await _ in changes {
            await watch()
            await tell()
        }
    }

    private func listen() async {
        for await answer in control.answers {
            take(answer)
            if Task.isCancelled { return }
        }
    }

    private func ask() async {
        while !Task.isCancelled {
            let now = Clock.monotonicNanoseconds()
            health.advance(to: now)
            await tell()
            send(health.takeQuestions(at: now, random: Self.random))
            let deadline = health.nextDeadline ?? now + Self.idleNanoseconds
            let pause = deadline > now ? min(deadline - now, Self.idleNanoseconds) : 0
            try? await Task.sleep(nanoseconds: max(pause, Self.pauseNanosecondsMin))
        }
    }

    private func watch() async {
        let marks = ProbeMarks(
            identifier: identifier, localPorts: Self.localPorts, localAddresses: addresses)
        let wanted = health.isAsking ? marks : nil
        guard wanted != watched else { return }
        guard (try? await control.watchAnswers(wanted)) != nil else { return }
        watched = wanted
    }

    /// Tells the tunnel what it does not know yet of the gateways.
    private func tell() async {
        let preferences = health.takePreferences()
        guard !preferences.isEmpty else { return }
        let peers = preferences.map { preference in
            PeerSettings(
                publicKey: preference.publicKey, updateOnly: true,
                preference: PeerSettings.Preference(
                    level: preference.level.rawValue, priority: preference.priority,
                    weight: preference.weight))
        }
        do {
            try await control.apply(DeviceSettings(peers: peers))
        } catch {
            health.forgetTold()
            return
        }
        for preference in preferences {
            let name = names[preference.publicKey] ?? "\(preference.publicKey)"
            log.info("gateway \(name): \(preference.level), priority \(preference.priority)")
        }
        await report(
            health.isAsking
                ? health.report.map { GatewayReport(name: $0.name, level: $0.level) } : [])
    }

    // MARK: - Packets

    private func send(_ questions: [GatewayHealth.Question]) {
        let packets = questions.compactMap { question in
            packet(question).map { (packet: $0, peer: question.publicKey) }
        }
        if !packets.isEmpty { control.inject(packets) }
    }

    /// - Returns: `nil` where the node has no address of the target's family.
    private func packet(_ question: GatewayHealth.Question) -> [UInt8]? {
        let target = question.target.address
        guard let source = addresses.first(where: { $0.isIPv4 == target.isIPv4 })
        else { return nil }
        switch question.target.kind {
        case .icmp:
            sequence &+= 1
            return ProbePacket.echoRequest(
                from: source, to: target, identifier: identifier, sequence: sequence,
                token: question.token)
        case .tcp(let port):
            return ProbePacket.synchronize(
                from: source, port: Self.localPort(of: question.token), to: target, port: port,
                sequence: UInt32(truncatingIfNeeded: question.token))
        }
    }

    private func take(_ answer: TunnelAnswer) {
        let read = ByteArena.withCopy(of: answer.packet) { ProbeAnswer($0) }
        guard let read, addresses.contains(read.destination) else { return }
        switch read.kind {
        case .echoReply(_, _, let token):
            note(token, HealthTarget(read.source, .icmp), isGood: true, answer)
        case .portClosed(let port, let localPort, let acknowledgment):
            note(
                Self.token(localPort, acknowledgment),
                HealthTarget(read.source, .tcp(port: port)), isGood: false, answer)
        case .portOpen(let port, let localPort, let acknowledgment):
            let target = HealthTarget(read.source, .tcp(port: port))
            let gateway = note(
                Self.token(localPort, acknowledgment), target, isGood: true, answer)
            guard let gateway else { return }
            // The connection is not wanted; it ends the way that it began.
            let reset = ProbePacket.reset(
                from: read.destination, port: localPort, to: read.source, port: port,
                sequence: acknowledgment)
            control.inject([(packet: reset, peer: gateway)])
        }
    }

    @discardableResult
    private func note(
        _ token: UInt64, _ target: HealthTarget, isGood: Bool, _ answer: TunnelAnswer
    ) -> PublicKey? {
        health.noteAnswer(token, of: target, isGood: isGood, at: answer.receivedAt)
    }

    /// A number of 38 bits, which is what a SYN has room for: its sequence number and a choice of
    /// ports.
    private static func random() -> UInt64 {
        UInt64(SecureRandom.uint32() & 63) << 32 | UInt64(SecureRandom.uint32())
    }

    private static func localPort(of token: UInt64) -> UInt16 {
        localPorts.lowerBound + UInt16(truncatingIfNeeded: token >> 32)
    }

    private static func token(_ localPort: UInt16, _ acknowledgment: UInt32) -> UInt64 {
        UInt64(localPort &- localPorts.lowerBound) << 32 | UInt64(acknowledgment &- 1)
    }

    /// Above the ports that Linux gives to sockets that ask for any (ip_local_port_range).
    private static let localPorts: ClosedRange<UInt16> = 61_952...62_015
    private static let idleNanoseconds: UInt64 = 1_000_000_000
    private static let pauseNanosecondsMin: UInt64 = 1_000_000
}
