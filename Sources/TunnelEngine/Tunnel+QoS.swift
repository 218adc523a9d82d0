import Cryptography
import EgressScheduling
import LinuxNetworking
import Logging
import PacketFormats
import WireGuardConfiguration
import WireGuardProtocol

/// How traffic is told apart, ordered and marked, as the control thread has it.
extension Tunnel {
    /// Takes settings up; workers are told when commands are posted next.
    ///
    /// Peers that are named and not there yet have theirs when they come.
    func use(_ settings: QoSSettings) {
        let old = qos
        qos = settings
        // One that stays the same is not full again because it was said again.
        if settings.budget != old.budget { budget = settings.budget.map { TenantBudget($0) } }
        // Branches come and go: what is said of single peers changes no rules.
        if settings.withoutPeers != old.withoutPeers { queueQoS() }
        for id in peers.keys.sorted() { queuePeerQoS(id, unless: old) }
        if settings.link != old.link { use(settings.link) }
        reviewSteering()
    }

    /// A line that several tunnels leave by is none of theirs.
    private func use(_ link: QoSSettings.Link?) {
        let words = link.map { link in
            "a line of \(link.bitsPerSecond) bit/s"
                + (link.minimumBitsPerSecond.map { ", followed down to \($0)" } ?? "")
        }
        guard engine.isShared else {
            log.info("leaves by \(words ?? "a line of no known rate")")
            return engine.use(link)
        }
        if let words {
            log.warning(
                """
                \(words) does not count: all tenants leave by the one that the gateway's own file \
                says ("link" in gateway.json)
                """)
        }
    }

    /// Has the settings of another process, of which no worker hears yet.
    func restore(_ settings: QoSSettings) {
        qos = settings
        budget = settings.budget.map { TenantBudget($0) }
        if !engine.isShared { engine.link = settings.link }
        sharesOneWorker = engine.link != nil
    }

    /// Tells workers of the settings, but for those of peers.
    func queueQoS() {
        let all = WorkerQoS.forWorkers(engine.workers.count, qos, budget: budget)
        for (index, one) in all.enumerated() { queue(.setQoS(one), for: index) }
    }

    /// Tells workers of a peer's settings.
    ///
    /// - Parameter old: What they know; `nil` for nothing.
    func queuePeerQoS(_ id: PeerID, unless old: QoSSettings? = nil) {
        guard let key = peers[id]?.publicKey else { return }
        let settings = qos.peers[key]
        guard settings != old?.peers[key] else { return }
        queueForAll(.setPeerQoS(id, settings.map { PeerQoS($0, parts: lineParts) } ?? PeerQoS()))
    }

    /// Settings are by key: a peer's stay its own when it has another one.
    func moveQoS(from key: PublicKey, to successor: PublicKey) {
        guard let settings = qos.peers.removeValue(forKey: key) else { return }
        qos.peers[successor] = settings
    }

    /// Workers that packets to one peer may leave by. With more than one they share its line
    /// evenly, and use less of it than they could, rather than more than there is.
    private var lineParts: Int {
        engine.workers.count > 1 && steering == nil ? engine.workers.count : 1
    }

    /// The worker that packets to a prefix go to: the one that its owner's datagrams arrive at, or
    /// the first where they must not leave by two, as its line has one owner.
    func worker(for owner: PeerID) -> Int {
        sharesOneWorker ? 0 : device.homeWorker(owner)
    }

    /// Steers all prefixes anew where that has changed.
    func reviewSteering() {
        let isOne = engine.link != nil || hasLinesOfSharers
        guard isOne != sharesOneWorker else { return }
        sharesOneWorker = isOne
        guard steering != nil else { return }
        for id in peers.keys {
            for prefix in settings.allowedIPs.prefixes(of: id) { steer(prefix) }
        }
    }

    /// Whether a peer has a line and a prefix that it shares: such packets go to the worker of
    /// another one, who might be at home elsewhere.
    private var hasLinesOfSharers: Bool {
        guard engine.workers.count > 1, settings.allowedIPs.hasSharers,
            qos.peers.contains(where: { $0.value.link != nil })
        else { return false }
        return peers.contains { id, peer in
            qos.peers[peer.publicKey]?.link != nil
                && settings.allowedIPs.prefixes(of: id).contains {
                    settings.allowedIPs.isShared($0)
                }
        }
    }

    // MARK: - Requests of the configuration socket

    /// Answers when the workers have said their part.
    func answerLater(
        _ request: ReportRequest, on connection: UInt32,
        _ bytes: @escaping (Tunnel, [WorkerReport]) -> [UInt8]
    ) {
        connections[connection]?.awaitsAnswer = true
        ask(request) { [unowned self] reports in
            guard let waiting = connections[connection] else { return }
            var answer = bytes(self, reports)
            waiting.awaitsAnswer = false
            waiting.answer(wiping: &answer)
            serve(connection: connection)
        }
    }
}

extension QoSSettings {
    fileprivate var withoutPeers: QoSSettings {
        var settings = self
        settings.peers = [:]
        return settings
    }

    /// What is wrong with a line, in words.
    static func fault(of link: Link?) -> String? {
        var settings = QoSSettings()
        settings.link = link
        return settings.fault()
    }
}

extension TenantBudget {
    fileprivate convenience init(_ budget: QoSSettings.Budget) {
        self.init(bytes: budget.bytes, tokens: budget.tokens, perSeconds: budget.perSeconds)
    }
}

extension Engine {
    /// Lets all that leaves keep to a line. Its owner is the first worker, which all packets are
    /// steered to: a shaper that several threads shared would cost each of them its pace.
    func use(_ link: QoSSettings.Link?) {
        self.link = link
        queueLink()
        for tunnel in tunnels.values { tunnel.reviewSteering() }
        postCommands()
    }

    /// Tells workers of the line.
    func queueLink() {
        // Packets that nobody steers, as those of new routes, may come to any worker.
        let isSteered = workers.count == 1 || tunnels.values.allSatisfy { $0.steering != nil }
        let line = link.map { link in
            var link = link
            link.bitsPerSecond = follower?.bitsPerSecond ?? link.bitsPerSecond
            return WorkerLine(link, parts: isSteered ? 1 : workers.count)
        }
        for index in workers.indices { pendingCommands[index].append(.setLink(line)) }
    }
}
