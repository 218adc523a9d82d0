internal import Cryptography
public import PacketFormats

extension QoSSettings {
    /// What no data plane can do, in words.
    ///
    /// - Returns: The first fault that is found, or `nil`.
    public func fault() -> String? {
        if let fault = link?.fault() { return "the link's \(fault)" }
        if services.count > Self.servicesMax {
            return "there are \(services.count) services; at most \(Self.servicesMax) are taken"
        }
        for service in services {
            if let fault = service.fault() { return fault }
        }
        let rangeCount = services.reduce(0) { $0 + $1.ports.count }
        if rangeCount > Self.servicePortRangesMax {
            return "the services have \(rangeCount) ranges of ports together; at most "
                + "\(Self.servicePortRangesMax) are taken"
        }
        return classFault() ?? budget?.fault() ?? peerFault()
    }

    private func classFault() -> String? {
        for (trafficClass, weight) in weights {
            guard Self.weightedClasses.contains(trafficClass) else {
                return "\(trafficClass.name) has no weight; those that have one are "
                    + Self.weightedClasses.map(\.name).joined(separator: ", ")
            }
            guard Self.weightRange.contains(weight) else {
                return "the weight of \(trafficClass.name) is \(weight); accepted: "
                    + Self.words(Self.weightRange)
            }
        }
        guard Self.priorityPercentRange.contains(priorityPercent) else {
            return "priority_percent is \(priorityPercent); accepted: "
                + Self.words(Self.priorityPercentRange)
        }
        guard Self.activationDeadlineRange.contains(activationDeadlineMicroseconds) else {
            return "the deadline of activation is \(activationDeadlineMicroseconds) µs; accepted: "
                + Self.words(Self.activationDeadlineRange)
        }
        return nil
    }

    private func peerFault() -> String? {
        guard peers.count <= ConfigurationLimits.peersMax else {
            return "there are \(peers.count) peers; at most \(ConfigurationLimits.peersMax) are "
                + "taken"
        }
        for (key, peer) in peers {
            if let fault = peer.link?.fault() { return "the peer \(key.base64)'s \(fault)" }
            if peer.link?.minimumBitsPerSecond != nil {
                return "the peer \(key.base64)'s rate has a minimum; only this side's line is "
                    + "followed"
            }
        }
        return nil
    }

    /// In the order of service: `control` is before all weights, `background` behind them.
    public static var weightedClasses: [TrafficClass] { [.token, .activation, .prompt, .bulk] }
    public static var servicesMax: Int { 1_000 }
    /// Of all services together.
    public static var servicePortRangesMax: Int { 4_096 }
    public static var weightRange: ClosedRange<Int> { 1...1_000 }
    public static var priorityPercentRange: ClosedRange<Int> { 1...99 }
    /// In microseconds: 1 ms to a second.
    public static var activationDeadlineRange: ClosedRange<Int> { 1_000...1_000_000 }

    fileprivate static func words<Bound>(_ range: ClosedRange<Bound>) -> String {
        "\(range.lowerBound) to \(range.upperBound)"
    }
}

extension QoSSettings.Link {
    /// In words that follow "the link's".
    fileprivate func fault() -> String? {
        guard Self.rateRange.contains(bitsPerSecond) else {
            return "rate is \(bitsPerSecond) bit/s; accepted: "
                + QoSSettings.words(Self.rateRange)
        }
        guard Self.overheadRange.contains(overheadBytes) else {
            return "overhead is \(overheadBytes) bytes; accepted: "
                + QoSSettings.words(Self.overheadRange)
        }
        guard let minimumBitsPerSecond else { return nil }
        guard Self.rateRange.contains(minimumBitsPerSecond) else {
            return "minimum is \(minimumBitsPerSecond) bit/s; accepted: "
                + QoSSettings.words(Self.rateRange)
        }
        guard minimumBitsPerSecond < bitsPerSecond else {
            return "minimum is \(minimumBitsPerSecond) bit/s, which is not below its rate of "
                + "\(bitsPerSecond)"
        }
        return nil
    }

    /// In bits per second: 1 kbit/s to 10 Tbit/s.
    public static var rateRange: ClosedRange<Int64> { 1_000...10_000_000_000_000 }
    public static var overheadRange: ClosedRange<Int> { 0...1_000 }
}

extension QoSSettings.Service {
    fileprivate func fault() -> String? {
        if name.isEmpty { return "a service has no name" }
        guard name.utf8.count <= Self.nameBytesMax else {
            return "a service's name has \(name.utf8.count) bytes; at most \(Self.nameBytesMax) "
                + "are taken"
        }
        if name.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) {
            return "a service's name has control characters"
        }
        guard ports.count <= Self.portRangesMax else {
            return "the service \(name) has \(ports.count) ranges of ports; at most "
                + "\(Self.portRangesMax) are taken"
        }
        return nil
    }

    public static var nameBytesMax: Int { 255 }
    public static var portRangesMax: Int { 64 }
}

extension QoSSettings.Budget {
    fileprivate func fault() -> String? {
        if bytes == nil && tokens == nil { return "the budget limits neither bytes nor tokens" }
        for (name, limit) in [("bytes", bytes), ("tokens", tokens)] {
            if let limit, limit < 1 { return "the budget's \(name) are \(limit); accepted: from 1" }
        }
        guard Self.secondsRange.contains(perSeconds) else {
            return "the budget's time is \(perSeconds) s; accepted: "
                + QoSSettings.words(Self.secondsRange)
        }
        return nil
    }

    /// To a leap year.
    public static var secondsRange: ClosedRange<Int> { 1...31_622_400 }
}
