internal import Cryptography
internal import PacketFormats

extension FlowReport {
    /// Reads the answer to a `flows=1` request. Keys that this version does not know are passed
    /// over.
    ///
    /// - Throws: Also if the answer itself reports a failure, or has more than
    ///   ``FlowQuery/flowsMax`` flows.
    public static func list(answer: [UInt8]) throws(UAPIError) -> [FlowReport] {
        var flows: [FlowReport] = []
        try UAPI.forEachAnswerPair(of: answer) { line, key, value throws(UAPIError) in
            let value = String(decoding: value, as: UTF8.self)
            if key == "flow" {
                guard flows.count < FlowQuery.flowsMax, let flow = FlowReport(ends: value) else {
                    throw UAPI.malformed(key, line)
                }
                flows.append(flow)
            } else if !flows.isEmpty {
                try flows[flows.count - 1].read(key, value, line)
            }
        }
        return flows
    }

    /// - Parameter ends: Protocol, client with port, server with port.
    private init?(ends: String) {
        let words = ends.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        guard words.count == 5, let protocolNumber: UInt8 = NumberText.decimal(words[0]),
            let client = IPAddress(words[1]), let clientPort: UInt16 = NumberText.decimal(words[2]),
            let server = IPAddress(words[3]), let serverPort: UInt16 = NumberText.decimal(words[4])
        else { return nil }
        self.init(
            client: client, clientPort: clientPort, server: server, serverPort: serverPort,
            protocolNumber: protocolNumber)
    }

    private mutating func read(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "public_key":
            guard let key = PublicKey(hex: value) else { throw UAPI.malformed(key, line) }
            peer = key
        case "class": trafficClass = try UAPI.trafficClass(key, value, line)
        case "evidence": evidence = try UAPI.word(key, value, line)
        case "confidence":
            confidence = try UAPI.number(key, value, line)
            guard confidence <= 100 else { throw UAPI.malformed(key, line) }
        case "service": service = value
        case "phase": phase = try UAPI.word(key, value, line)
        case "token_stream": isTokenStream = try UAPI.truth(key, value, line)
        case "limit": limit = value
        case "detail": detail = value
        default: try readNumber(key, value, line)
        }
    }

    private mutating func readNumber(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) {
        switch key {
        case "age_nsec": ageNanoseconds = try UAPI.number(key, value, line)
        case "idle_nsec": idleNanoseconds = try UAPI.number(key, value, line)
        case "bytes_out": bytesOut = try UAPI.number(key, value, line)
        case "bytes_in": bytesIn = try UAPI.number(key, value, line)
        case "requests": requests = try UAPI.number(key, value, line)
        case "chunks": chunks = try UAPI.number(key, value, line)
        case "stalls": stalls = try UAPI.number(key, value, line)
        case "retransmissions": retransmissions = try UAPI.number(key, value, line)
        case "first_chunk_nsec": firstChunkNanoseconds = try UAPI.number(key, value, line)
        case "inter_chunk_nsec": interChunkNanoseconds = try UAPI.number(key, value, line)
        case "inter_chunk_max_nsec": interChunkMaxNanoseconds = try UAPI.number(key, value, line)
        default: return
        }
    }
}

extension FlowQuery {
    /// Reads one line after `flows=1`.
    mutating func read(_ key: String, _ value: String, _ line: Int) throws(UAPIError) {
        switch key {
        case "address": address = try Self.address(key, value, line)
        case "port": port = try Self.port(key, value, line)
        case "other_address": otherAddress = try Self.address(key, value, line)
        case "other_port": otherPort = try Self.port(key, value, line)
        case "streams_only":
            guard value == "true" else {
                throw UAPIError(
                    .invalid, line: line, "\(key) is \(quoted(value)); accepted: true")
            }
            streamsOnly = true
        default:
            throw UAPIError(.invalid, line: line, "\(quoted(key)) is not a key of flows")
        }
    }

    private static func address(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> IPAddress {
        guard let address = IPAddress(value) else {
            throw UAPIError(
                .invalid, line: line, "\(key) is \(quoted(value)); accepted: an IP address")
        }
        return address
    }

    private static func port(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> UInt16 {
        guard let port: UInt16 = NumberText.decimal(value) else {
            throw UAPIError(
                .invalid, line: line, "\(key) is \(quoted(value)); accepted: 0 to \(UInt16.max)")
        }
        return port
    }
}

extension UAPI {
    /// A `flows=1` request, with the empty line that ends it.
    public static func serialize(_ query: FlowQuery) -> [UInt8] {
        var text: [UInt8] = []
        text.appendLine("flows", 1)
        if let address = query.address { text.appendLine("address", address) }
        if let port = query.port { text.appendLine("port", port) }
        if let address = query.otherAddress { text.appendLine("other_address", address) }
        if let port = query.otherPort { text.appendLine("other_port", port) }
        if query.streamsOnly { text.appendLine("streams_only", true) }
        text.appendWiping("\n".utf8)
        return text
    }

    /// The answer to a `flows=1` request, with its `errno=0` and empty line.
    ///
    /// - Parameter flows: Those beyond ``FlowQuery/flowsMax`` are left out.
    public static func serialize(_ flows: [FlowReport]) -> [UInt8] {
        var text: [UInt8] = []
        for flow in flows.prefix(FlowQuery.flowsMax) { append(flow, to: &text) }
        text.appendLine("errno", 0)
        text.appendWiping("\n".utf8)
        return text
    }

    private static func append(_ flow: FlowReport, to text: inout [UInt8]) {
        text.appendLine(
            "flow",
            "\(flow.protocolNumber) \(flow.client) \(flow.clientPort) \(flow.server) "
                + "\(flow.serverPort)")
        if let peer = flow.peer { text.appendLine("public_key", peer.hex) }
        text.appendLine("class", flow.trafficClass.name)
        text.appendLine("evidence", flow.evidence.rawValue)
        text.appendCount("confidence", flow.confidence)
        if let service = flow.service { text.appendLine("service", onOneLine(service)) }
        text.appendLine("phase", flow.phase.rawValue)
        if flow.isTokenStream { text.appendLine("token_stream", true) }
        if let limit = flow.limit { text.appendLine("limit", onOneLine(limit)) }
        if !flow.detail.isEmpty { text.appendLine("detail", onOneLine(flow.detail)) }
        text.appendCount("age_nsec", flow.ageNanoseconds)
        text.appendCount("idle_nsec", flow.idleNanoseconds)
        text.appendCount("bytes_out", flow.bytesOut)
        text.appendCount("bytes_in", flow.bytesIn)
        text.appendCount("requests", flow.requests)
        text.appendCount("chunks", flow.chunks)
        text.appendCount("stalls", flow.stalls)
        text.appendCount("retransmissions", flow.retransmissions)
        // Here a zero is a time, and nothing is none.
        for (key, time) in [
            ("first_chunk_nsec", flow.firstChunkNanoseconds),
            ("inter_chunk_nsec", flow.interChunkNanoseconds),
            ("inter_chunk_max_nsec", flow.interChunkMaxNanoseconds),
        ] {
            if let time { text.appendLine(key, time) }
        }
    }

    fileprivate static func word<Word: RawRepresentable<String>>(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> Word {
        guard let word = Word(rawValue: value) else { throw malformed(key, line) }
        return word
    }
}
