internal import Cryptography
internal import PacketFormats

extension QoSStatus {
    /// Reads the answer to a `qos=1` request. Keys that this version does not know are passed over.
    ///
    /// - Throws: Also if the answer itself reports a failure.
    public init(answer: [UInt8]) throws(UAPIError) {
        var reader = Reader()
        try UAPI.forEachAnswerPair(of: answer) { line, key, value throws(UAPIError) in
            try reader.read(key, String(decoding: value, as: UTF8.self), line)
        }
        self = reader.status
    }

    /// The answer is a part for the whole, then one for each class, path and measure.
    private struct Reader {
        var status = QoSStatus()
        private var part = Part.whole

        private enum Part { case whole, trafficClass, path, measure }

        mutating func read(_ key: String, _ value: String, _ line: Int) throws(UAPIError) {
            switch key {
            case "class":
                status.classes.append(
                    ClassStatus(trafficClass: try UAPI.trafficClass(key, value, line)))
                part = .trafficClass
            case "path":
                let words = value.split(separator: " ", omittingEmptySubsequences: false)
                guard words.count == 3, let key = PublicKey(hex: String(words[0])),
                    let rate: Int64 = NumberText.decimal(words[1]),
                    let overhead: Int = NumberText.decimal(words[2])
                else { throw UAPI.malformed(key, line) }
                let link = QoSSettings.Link(bitsPerSecond: rate, overheadBytes: overhead)
                status.paths.append(PathStatus(peer: key, link: link))
                part = .path
            case "measure":
                status.measures.append(
                    Measure(trafficClass: try UAPI.trafficClass(key, value, line)))
                part = .measure
            default: try readPart(key, value, line)
            }
        }

        private mutating func readPart(
            _ key: String, _ value: String, _ line: Int
        ) throws(UAPIError) {
            switch part {
            case .whole: try status.read(key, value, line)
            case .trafficClass:
                try status.classes[status.classes.count - 1].read(key, value, line)
            case .path: try status.paths[status.paths.count - 1].read(key, value, line)
            case .measure: try status.measures[status.measures.count - 1].read(key, value, line)
            }
        }
    }

    private mutating func read(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "classify": isClassifying = try UAPI.truth(key, value, line)
        case "link":
            let words = value.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 2, let rate: Int64 = NumberText.decimal(words[0]),
                let overhead: Int = NumberText.decimal(words[1])
            else { throw UAPI.malformed(key, line) }
            link = QoSSettings.Link(bitsPerSecond: rate, overheadBytes: overhead)
        case "link_minimum": link?.minimumBitsPerSecond = try UAPI.number(key, value, line)
        case "link_now": following = Following(bitsPerSecond: try UAPI.number(key, value, line))
        // A later version may have other reasons.
        case "link_change": following?.cause = Following.Cause(rawValue: value)
        case "link_late_nsec": following?.delayNanoseconds = try UAPI.number(key, value, line)
        case "link_change_age_nsec":
            following?.ageNanoseconds = try UAPI.number(key, value, line)
        case "link_shared": isLinkShared = try UAPI.truth(key, value, line)
        case "link_wire_bytes": linkWireBytes = try UAPI.number(key, value, line)
        case "flows": flowCount = try UAPI.number(key, value, line)
        case "flows_max": flowCapacity = try UAPI.number(key, value, line)
        case "evicted_flows": evictedFlows = try UAPI.number(key, value, line)
        case "over_budget_packets": overBudgetPackets = try UAPI.number(key, value, line)
        case "over_budget": isOverBudget = try UAPI.truth(key, value, line)
        default: return
        }
    }
}

extension QoSStatus.ClassStatus {
    fileprivate mutating func read(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "packets": packets = try UAPI.number(key, value, line)
        case "bytes": bytes = try UAPI.number(key, value, line)
        case "queued_packets": queuedPackets = try UAPI.number(key, value, line)
        case "queued_bytes": queuedBytes = try UAPI.number(key, value, line)
        case "sojourn": sojournCounts = try UAPI.counts(key, value, line)
        case "sojourn_max_nsec": sojournMaxNanoseconds = try UAPI.number(key, value, line)
        case "marks": marks = try UAPI.number(key, value, line)
        case "early_drops": earlyDrops = try UAPI.number(key, value, line)
        case "overflow_drops": overflowDrops = try UAPI.number(key, value, line)
        case "outer_marked": outerMarked = try UAPI.number(key, value, line)
        case "inner_marked": innerMarked = try UAPI.number(key, value, line)
        default: return
        }
    }
}

extension QoSStatus.PathStatus {
    fileprivate mutating func read(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "queued_packets": queuedPackets = try UAPI.number(key, value, line)
        case "queued_bytes": queuedBytes = try UAPI.number(key, value, line)
        case "wire_bytes": wireBytes = try UAPI.number(key, value, line)
        default: return
        }
    }
}

extension QoSStatus.Measure {
    fileprivate mutating func read(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "service": service = value
        case "public_key":
            guard let key = PublicKey(hex: value) else { throw UAPI.malformed(key, line) }
            peer = key
        case "requests": requests = try UAPI.number(key, value, line)
        case "streams": streams = try UAPI.number(key, value, line)
        case "chunks": chunks = try UAPI.number(key, value, line)
        case "stream_bytes": streamBytes = try UAPI.number(key, value, line)
        case "stalls": stalls = try UAPI.number(key, value, line)
        case "retransmissions": retransmissions = try UAPI.number(key, value, line)
        case "tokens": tokens = try UAPI.number(key, value, line)
        case "first_chunk": firstChunkCounts = try UAPI.counts(key, value, line)
        case "first_chunk_sum_sec": firstChunkSumSeconds = try UAPI.seconds(key, value, line)
        case "inter_chunk": interChunkCounts = try UAPI.counts(key, value, line)
        case "inter_chunk_sum_sec": interChunkSumSeconds = try UAPI.seconds(key, value, line)
        default: return
        }
    }
}

extension UAPI {
    /// The request that ``QoSStatus/init(answer:)`` reads the answer of.
    public static var qosRequest: [UInt8] { Array("qos=1\n\n".utf8) }

    /// The answer to a `qos=1` request, with its `errno=0` and empty line. Zeros are left out.
    public static func serialize(_ status: QoSStatus) -> [UInt8] {
        var text: [UInt8] = []
        text.appendLine("classify", status.isClassifying)
        if let link = status.link { append(link, status.following, to: &text) }
        if status.isLinkShared { text.appendLine("link_shared", true) }
        text.appendCount("link_wire_bytes", status.linkWireBytes)
        text.appendCount("flows", status.flowCount)
        text.appendCount("flows_max", status.flowCapacity)
        text.appendCount("evicted_flows", status.evictedFlows)
        text.appendCount("over_budget_packets", status.overBudgetPackets)
        if status.isOverBudget { text.appendLine("over_budget", true) }
        for one in status.classes { append(one, to: &text) }
        for path in status.paths {
            text.appendLine("path", "\(path.peer.hex) \(words(path.link))")
            text.appendCount("queued_packets", path.queuedPackets)
            text.appendCount("queued_bytes", path.queuedBytes)
            text.appendCount("wire_bytes", path.wireBytes)
        }
        for measure in status.measures { append(measure, to: &text) }
        text.appendLine("errno", 0)
        text.appendWiping("\n".utf8)
        return text
    }

    /// The line itself as ever, for programs that know no more.
    private static func append(
        _ link: QoSSettings.Link, _ following: QoSStatus.Following?, to text: inout [UInt8]
    ) {
        var fixed = link
        fixed.minimumBitsPerSecond = nil
        text.appendLine("link", words(fixed))
        if let minimum = link.minimumBitsPerSecond { text.appendLine("link_minimum", minimum) }
        guard let following else { return }
        text.appendLine("link_now", following.bitsPerSecond)
        guard let cause = following.cause else { return }
        text.appendLine("link_change", cause.rawValue)
        text.appendCount("link_late_nsec", following.delayNanoseconds)
        text.appendCount("link_change_age_nsec", following.ageNanoseconds)
    }

    private static func append(_ one: QoSStatus.ClassStatus, to text: inout [UInt8]) {
        text.appendLine("class", one.trafficClass.name)
        text.appendCount("packets", one.packets)
        text.appendCount("bytes", one.bytes)
        text.appendCount("queued_packets", one.queuedPackets)
        text.appendCount("queued_bytes", one.queuedBytes)
        text.appendCounts("sojourn", one.sojournCounts)
        text.appendCount("sojourn_max_nsec", one.sojournMaxNanoseconds)
        text.appendCount("marks", one.marks)
        text.appendCount("early_drops", one.earlyDrops)
        text.appendCount("overflow_drops", one.overflowDrops)
        text.appendCount("outer_marked", one.outerMarked)
        text.appendCount("inner_marked", one.innerMarked)
    }

    private static func append(_ measure: QoSStatus.Measure, to text: inout [UInt8]) {
        text.appendLine("measure", measure.trafficClass.name)
        if let service = measure.service { text.appendLine("service", onOneLine(service)) }
        if let peer = measure.peer { text.appendLine("public_key", peer.hex) }
        text.appendCount("requests", measure.requests)
        text.appendCount("streams", measure.streams)
        text.appendCount("chunks", measure.chunks)
        text.appendCount("stream_bytes", measure.streamBytes)
        text.appendCount("stalls", measure.stalls)
        text.appendCount("retransmissions", measure.retransmissions)
        text.appendCount("tokens", measure.tokens)
        text.appendCounts("first_chunk", measure.firstChunkCounts)
        if measure.firstChunkSumSeconds != 0 {
            text.appendLine("first_chunk_sum_sec", measure.firstChunkSumSeconds)
        }
        text.appendCounts("inter_chunk", measure.interChunkCounts)
        if measure.interChunkSumSeconds != 0 {
            text.appendLine("inter_chunk_sum_sec", measure.interChunkSumSeconds)
        }
    }

    /// Numbers with commas between them.
    static func counts(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> [UInt64] {
        let entries = value.split(separator: ",", omittingEmptySubsequences: false)
        guard entries.count <= bucketsMax else { throw malformed(key, line) }
        var counts: [UInt64] = []
        for entry in entries { counts.append(try number(key, String(entry), line)) }
        return counts
    }

    static func seconds(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> Double {
        guard let seconds = Double(value), seconds.isFinite, seconds >= 0 else {
            throw malformed(key, line)
        }
        return seconds
    }

    static func truth(_ key: String, _ value: String, _ line: Int) throws(UAPIError) -> Bool {
        switch value {
        case "true": true
        case "false": false
        default: throw malformed(key, line)
        }
    }

    static func trafficClass(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> TrafficClass {
        guard let trafficClass = TrafficClass(name: value) else { throw malformed(key, line) }
        return trafficClass
    }

    /// Counts of one histogram.
    private static let bucketsMax = 64
}

extension [UInt8] {
    /// Appends a line for a number that is not zero.
    mutating func appendCount(_ key: String, _ count: some BinaryInteger) {
        if count != 0 { appendLine(key, count) }
    }

    fileprivate mutating func appendCounts(_ key: String, _ counts: [UInt64]) {
        guard !counts.isEmpty else { return }
        appendLine(key, counts.map(String.init).joined(separator: ","))
    }
}
