internal import Cryptography
internal import PacketFormats

extension UAPI {
    /// A `set_qos=1` request, with the empty line that ends it.
    ///
    /// What is at its standard is left out; what is left out is at its standard when it is read.
    public static func serialize(_ settings: QoSSettings) -> [UInt8] {
        let standard = QoSSettings()
        var text: [UInt8] = []
        text.appendLine("set_qos", 1)
        if !settings.isClassifying { text.appendLine("classify", false) }
        if settings.readsUsage { text.appendLine("read_usage", true) }
        if let link = settings.link { text.appendLine("link", words(link)) }
        for service in settings.services { text.appendLine("service", words(service)) }
        for (mark, trafficClass) in settings.believedMarks.sorted(by: { $0.key < $1.key }) {
            text.appendLine("believe", "\(mark.rawValue) \(trafficClass.name)")
        }
        for (trafficClass, weight) in settings.weights.sorted(by: { $0.key < $1.key }) {
            text.appendLine("weight", "\(trafficClass.name) \(weight)")
        }
        if settings.priorityPercent != standard.priorityPercent {
            text.appendLine("priority_percent", settings.priorityPercent)
        }
        if settings.activationDeadlineMicroseconds != standard.activationDeadlineMicroseconds {
            text.appendLine("activation_deadline_usec", settings.activationDeadlineMicroseconds)
        }
        if settings.outerMarking != .off {
            text.appendLine("outer_marking", settings.outerMarking.rawValue)
        }
        for (trafficClass, mark) in settings.classMarks.sorted(by: { $0.key < $1.key }) {
            text.appendLine("class_mark", "\(trafficClass.name) \(mark.rawValue)")
        }
        if settings.marksInner { text.appendLine("mark_inner", true) }
        if let budget = settings.budget { text.appendLine("budget", words(budget)) }
        if let ceiling = settings.ceiling { text.appendLine("ceiling", ceiling.name) }
        if let ceiling = settings.peersCeiling { text.appendLine("peers_ceiling", ceiling.name) }
        let peers = settings.peers.map { (key: $0.key.hex, peer: $0.value) }
        for (key, peer) in peers.sorted(by: { $0.key < $1.key }) {
            text.appendLine("public_key", key)
            if let link = peer.link { text.appendLine("link", words(link)) }
            if let ceiling = peer.ceiling { text.appendLine("ceiling", ceiling.name) }
            if let marking = peer.outerMarking {
                text.appendLine("outer_marking", marking.rawValue)
            }
        }
        text.appendWiping("\n".utf8)
        return text
    }

    static func words(_ link: QoSSettings.Link) -> String {
        "\(link.bitsPerSecond) \(link.overheadBytes)"
            + (link.minimumBitsPerSecond.map { " \($0)" } ?? "")
    }

    /// The name comes last: it may hold anything but a new line.
    private static func words(_ service: QoSSettings.Service) -> String {
        let ports = service.ports.map { range in
            range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound)-\(range.upperBound)"
        }
        return [
            service.transport.rawValue, service.destination.description,
            ports.isEmpty ? "*" : ports.joined(separator: ","),
            service.trafficClass?.name ?? "-", onOneLine(service.name),
        ].joined(separator: " ")
    }

    private static func words(_ budget: QoSSettings.Budget) -> String {
        let bytes = budget.bytes.map(String.init) ?? "-"
        let tokens = budget.tokens.map(String.init) ?? "-"
        return "\(bytes) \(tokens) \(budget.perSeconds)"
    }
}

extension DSCP {
    fileprivate static func < (left: DSCP, right: DSCP) -> Bool { left.rawValue < right.rawValue }
}
