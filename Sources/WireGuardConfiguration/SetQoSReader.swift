internal import Cryptography
internal import PacketFormats

/// Collects the lines of a `set_qos=1` request.
struct SetQoSReader {
    private var settings = QoSSettings()
    /// The peer whose lines are being read; `nil` in the part that is for all.
    private var peer: PublicKey?
    /// Keys of this part that may stand in it once only.
    private var seen: Set<String> = []
    /// Of all services.
    private var portRangeCount = 0

    mutating func read(key: String, value: String, line: Int) throws(UAPIError) {
        if key == "public_key" {
            try beginPeer(value, line)
            return
        }
        if !Self.listKeys.contains(key), !seen.insert(key).inserted {
            throw refusal(line, "\(quoted(key)) stands here twice")
        }
        if let peer {
            try readPeer(peer, key, value, line)
        } else {
            try readCommon(key, value, line)
        }
    }

    /// - Throws: Where the settings as a whole cannot be carried out.
    func finish() throws(UAPIError) -> QoSSettings {
        if let fault = settings.fault() { throw UAPIError(.invalid, fault) }
        return settings
    }

    private mutating func beginPeer(_ value: String, _ line: Int) throws(UAPIError) {
        guard let key = PublicKey(hex: value) else {
            throw refusal(line, "public_key is not 64 hexadecimal digits")
        }
        guard settings.peers.count < ConfigurationLimits.peersMax else {
            throw refusal(line, "more than \(ConfigurationLimits.peersMax) peers")
        }
        guard settings.peers.updateValue(QoSSettings.Peer(), forKey: key) == nil else {
            throw refusal(line, "the peer stands here twice")
        }
        peer = key
        seen = []
    }

    private mutating func readPeer(
        _ peer: PublicKey, _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "link":
            let link = try link(value, line)
            settings.peers[peer]?.link = link
        case "ceiling":
            let ceiling = try trafficClass(key, value, line)
            settings.peers[peer]?.ceiling = ceiling
        case "outer_marking":
            let marking = try marking(value, line)
            settings.peers[peer]?.outerMarking = marking
        default: throw refusal(line, "\(quoted(key)) is not a key of a peer")
        }
    }

    private mutating func readCommon(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "classify": settings.isClassifying = try truth(key, value, line)
        case "read_usage": settings.readsUsage = try truth(key, value, line)
        case "link": settings.link = try link(value, line)
        case "service": try appendService(value, line)
        case "believe": try believe(value, line)
        case "weight": try weigh(value, line)
        case "priority_percent": settings.priorityPercent = try number(key, value, line)
        case "activation_deadline_usec":
            settings.activationDeadlineMicroseconds = try number(key, value, line)
        case "outer_marking": settings.outerMarking = try marking(value, line)
        case "class_mark": try mark(value, line)
        case "mark_inner": settings.marksInner = try truth(key, value, line)
        case "budget": settings.budget = try budget(value, line)
        case "ceiling": settings.ceiling = try trafficClass(key, value, line)
        case "peers_ceiling": settings.peersCeiling = try trafficClass(key, value, line)
        default: throw refusal(line, "\(quoted(key)) is not a key of QoS")
        }
    }

    private mutating func appendService(_ value: String, _ line: Int) throws(UAPIError) {
        guard settings.services.count < QoSSettings.servicesMax else {
            throw refusal(line, "more than \(QoSSettings.servicesMax) services")
        }
        let words = value.split(separator: " ", maxSplits: 4, omittingEmptySubsequences: false)
            .map(String.init)
        guard words.count == 5,
            let transport = QoSSettings.Service.Transport(rawValue: words[0]),
            words[1].contains("/"), let destination = IPPrefix(words[1]),
            let ports = Self.ports(words[2])
        else {
            throw refusal(
                line,
                "service is \(quoted(value)); accepted: transport, destination, ports, class and "
                    + "name, such as tcp 10.9.0.0/24 443,8000-8100 token chat")
        }
        portRangeCount += ports.count
        guard portRangeCount <= QoSSettings.servicePortRangesMax else {
            throw refusal(
                line,
                "more than \(QoSSettings.servicePortRangesMax) ranges of ports in all services")
        }
        settings.services.append(
            QoSSettings.Service(
                name: words[4], destination: destination, transport: transport, ports: ports,
                trafficClass: words[3] == "-" ? nil : try trafficClass("service", words[3], line)))
    }

    private static func ports(_ text: String) -> [ClosedRange<UInt16>]? {
        if text == "*" { return [] }
        let entries = text.split(separator: ",", omittingEmptySubsequences: false)
        guard entries.count <= QoSSettings.Service.portRangesMax else { return nil }
        var ranges: [ClosedRange<UInt16>] = []
        for entry in entries {
            let ends = entry.split(
                separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
            guard let first: UInt16 = NumberText.decimal(ends[0]),
                let last: UInt16 = NumberText.decimal(ends[ends.count - 1]), first <= last
            else { return nil }
            ranges.append(first...last)
        }
        return ranges
    }

    private mutating func believe(_ value: String, _ line: Int) throws(UAPIError) {
        let (first, second) = try pair("believe", value, line)
        let believed = try codePoint("believe", first, line)
        let trafficClass = try trafficClass("believe", second, line)
        guard settings.believedMarks.updateValue(trafficClass, forKey: believed) == nil else {
            throw refusal(line, "the mark \(believed.rawValue) is believed twice")
        }
    }

    private mutating func weigh(_ value: String, _ line: Int) throws(UAPIError) {
        let (first, second) = try pair("weight", value, line)
        let trafficClass = try trafficClass("weight", first, line)
        let weight: Int = try number("weight", second, line)
        guard settings.weights.updateValue(weight, forKey: trafficClass) == nil else {
            throw refusal(line, "\(trafficClass.name) has two weights")
        }
    }

    private mutating func mark(_ value: String, _ line: Int) throws(UAPIError) {
        let (first, second) = try pair("class_mark", value, line)
        let trafficClass = try trafficClass("class_mark", first, line)
        let mark = try codePoint("class_mark", second, line)
        guard settings.classMarks.updateValue(mark, forKey: trafficClass) == nil else {
            throw refusal(line, "\(trafficClass.name) has two marks")
        }
    }

    private func link(_ value: String, _ line: Int) throws(UAPIError) -> QoSSettings.Link {
        let words = value.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        guard (2...3).contains(words.count) else {
            throw refusal(
                line, "link is \(quoted(value)); accepted: rate and overhead, and a minimum of the "
                    + "rate where it is followed")
        }
        return QoSSettings.Link(
            bitsPerSecond: try number("link", words[0], line),
            overheadBytes: try number("link", words[1], line),
            minimumBitsPerSecond: words.count == 3 ? try number("link", words[2], line) : nil)
    }

    private func budget(_ value: String, _ line: Int) throws(UAPIError) -> QoSSettings.Budget {
        let words = value.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        guard words.count == 3 else {
            throw refusal(
                line, "budget is \(quoted(value)); accepted: bytes, tokens and seconds, with - "
                    + "for no limit")
        }
        return QoSSettings.Budget(
            bytes: words[0] == "-" ? nil : try number("budget", words[0], line),
            tokens: words[1] == "-" ? nil : try number("budget", words[1], line),
            perSeconds: try number("budget", words[2], line))
    }

    private func marking(
        _ value: String, _ line: Int
    ) throws(UAPIError) -> QoSSettings.OuterMarking {
        guard let marking = QoSSettings.OuterMarking(rawValue: value) else {
            throw refusal(
                line, "outer_marking is \(quoted(value)); accepted: off, class and copy")
        }
        return marking
    }

    private func trafficClass(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> TrafficClass {
        guard let trafficClass = TrafficClass(name: value) else {
            let names = TrafficClass.allCases.map(\.name).joined(separator: ", ")
            throw refusal(line, "the class of \(key) is \(quoted(value)); accepted: \(names)")
        }
        return trafficClass
    }

    private func codePoint(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> DSCP {
        guard let number: UInt8 = NumberText.decimal(value), let mark = DSCP(rawValue: number)
        else { throw refusal(line, "the DSCP of \(key) is \(quoted(value)); accepted: 0 to 63") }
        return mark
    }

    private func pair(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> (String, String) {
        let words = value.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        guard words.count == 2 else {
            throw refusal(line, "\(key) is \(quoted(value)); accepted: two words")
        }
        return (words[0], words[1])
    }

    private func number<Value: FixedWidthInteger>(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> Value {
        guard let number: Value = NumberText.decimal(value) else {
            throw refusal(line, "\(key) has \(quoted(value)); accepted: 0 to \(Value.max)")
        }
        return number
    }

    private func truth(_ key: String, _ value: String, _ line: Int) throws(UAPIError) -> Bool {
        switch value {
        case "true": true
        case "false": false
        default: throw refusal(line, "\(key) is \(quoted(value)); accepted: true and false")
        }
    }

    private func refusal(_ line: Int, _ reason: String) -> UAPIError {
        UAPIError(.invalid, line: line, reason)
    }

    private static let listKeys: Set<String> = ["service", "believe", "weight", "class_mark"]
}
