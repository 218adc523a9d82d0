import PacketFormats

extension FlowTable {
    /// Adds what a packet showed to the measures of its flow.
    mutating func measure(_ index: Int, _ notes: FlowNotes) {
        let tunnel = Int(entries[index].key.tunnel)
        if notes.tokens | notes.chunks != 0 {
            tunnels[tunnel].tokens &+= entries[index].answer.charge(
                chunks: notes.chunks, tokens: notes.tokens)
        }
        let key = MeasureTable.Key(
            tunnel: entries[index].key.tunnel, peer: entries[index].peer,
            serviceHash: entries[index].serviceHash, trafficClass: entries[index].measuredClass)
        var rowCount = tunnels[tunnel].measures
        measureTable.add(notes, to: key, rowsOfTunnel: &rowCount)
        tunnels[tunnel].measures = rowCount
    }

    /// What was measured since the tunnel began. For control paths: allocates.
    ///
    /// - Parameter rules: Those in force, for the names of services.
    public func measures(of tunnel: Int, rules: ClassRules) -> [StreamMeasure] {
        measureTable.all(of: Int32(truncatingIfNeeded: tunnel), rules: rules)
    }

    /// Flows, the most recently active first. For control paths: allocates.
    ///
    /// It is made between packets, so only the latest 4,096 flows are looked at, and connections
    /// that are over last: what matches among older ones is left out without a word.
    /// - Complexity: O(flows looked at).
    public func flows(
        of tunnel: Int, matching filter: FlowFilter, limit: Int, rules: ClassRules, now: UInt64
    ) -> [FlowRecord] {
        guard tunnel >= 0, tunnel < tunnels.count, limit > 0 else { return [] }
        var found: [(index: Int, time: UInt64)] = []
        var left = FlowLimits.reportedMax
        for start in [tunnels[tunnel].live.newest, tunnels[tunnel].retired.newest] {
            var index = Int(start)
            while index >= 0, left > 0, found.count < limit {
                left -= 1
                if !filter.streamsOnly || entries[index].isStreaming(now: now),
                    filter.matches(entries[index].key)
                {
                    found.append((index, entries[index].packetNanoseconds))
                }
                index = Int(entries[index].older)
            }
        }
        // The lists are in order but for what came since a flow was last moved to its front.
        found.sort { $0.time > $1.time }
        return found.map { FlowRecord(entries[$0.index], rules: rules, now: now) }
    }
}

extension FlowFilter {
    /// Whether one end is the one asked for, and the other end the other one.
    func matches(_ key: FlowKey) -> Bool {
        let local = key.local
        let remote = key.remote
        func matches(_ one: IPAddress, _ onePort: UInt16, _ two: IPAddress, _ twoPort: UInt16)
            -> Bool
        {
            (address ?? one) == one && (port ?? onePort) == onePort
                && (otherAddress ?? two) == two && (otherPort ?? twoPort) == twoPort
        }
        return matches(local, key.localPort, remote, key.remotePort)
            || matches(remote, key.remotePort, local, key.localPort)
    }
}

extension Flow {
    /// The class that its measures belong to: that of the answer, or of the request that waits for
    /// one.
    var measuredClass: TrafficClass {
        if let serviceClass { return serviceClass }
        if answer.isStream { return .token }
        return (isClientLocal ? out : `in`).trafficClass
    }

    /// Whether it is a token stream that goes on, or went on within the last seconds.
    func isStreaming(now: UInt64) -> Bool {
        answer.hasStreamed
            && now &- answer.chunkNanoseconds < FlowLimits.recentNanoseconds
    }

    func phase(now: UInt64) -> FlowPhase {
        let isSilent = now &- max(out.payloadNanoseconds, `in`.payloadNanoseconds)
            > FlowLimits.streamEndNanoseconds
        switch answer.phase {
        case .waiting, .idle: return answer.phase
        case .request: return isSilent ? .idle : .request
        case .streaming: return isSilent ? .idle : .streaming
        }
    }
}

extension FlowRecord {
    init(_ flow: Flow, rules: ClassRules, now: UInt64) {
        let answer = flow.answer
        client = flow.isClientLocal ? flow.key.local : flow.key.remote
        clientPort = flow.isClientLocal ? flow.key.localPort : flow.key.remotePort
        server = flow.isClientLocal ? flow.key.remote : flow.key.local
        serverPort = flow.isClientLocal ? flow.key.remotePort : flow.key.localPort
        protocolNumber = flow.key.protocolNumber
        peer = flow.peer
        let way = flow.out
        trafficClass = way.trafficClass.limited(to: flow.ceiling)
        evidence = way.evidence
        confidence = Int(way.confidence)
        service = rules.serviceName(flow.serviceHash)
        phase = flow.phase(now: now)
        isTokenStream = answer.hasStreamed
        isLimited = trafficClass != way.trafficClass
        detail = Self.detail(flow)
        ageNanoseconds = now &- flow.startNanoseconds
        idleNanoseconds = now &- flow.packetNanoseconds
        bytesOut = flow.out.bytes
        bytesIn = flow.in.bytes
        requests = UInt64(answer.requests)
        chunks = UInt64(answer.chunks)
        stalls = UInt64(answer.stalls)
        retransmissions = UInt64(flow.out.retransmissions) + UInt64(flow.in.retransmissions)
        firstChunkNanoseconds =
            answer.firstChunkNanoseconds == 0 ? nil : answer.firstChunkNanoseconds
        interChunkNanoseconds =
            answer.interChunkNanoseconds == 0 ? nil : answer.interChunkNanoseconds
        interChunkMaxNanoseconds =
            answer.interChunkMaxNanoseconds == 0 ? nil : answer.interChunkMaxNanoseconds
    }

    /// In words: never a query or a body.
    private static func detail(_ flow: Flow) -> String {
        var words: [String] = []
        switch flow.told {
        case .unknown: break
        case .http1: words.append("HTTP/1.1")
        case .http2: words.append(flow.isGRPC ? "gRPC" : "HTTP/2")
        case .tls: words.append("TLS")
        case .ssh: words.append("SSH")
        }
        if flow.toldEvidence != nil, flow.answer.requests > 0 {
            words.append(word(of: flow.answer.method))
            words.append(word(of: flow.answer.path))
            if flow.answer.isLong { words.append("a long body") }
            switch flow.answer.contentType {
            case .eventStream: words.append("answered by an event stream")
            case .jsonLines: words.append("answered by JSON lines")
            case .none, .other, .json, .grpc: break
            }
        } else if flow.answer.hasStreamed {
            words.append("chunks like tokens")
        }
        return words.filter { !$0.isEmpty }.joined(separator: " ")
    }

    private static func word(of method: RequestMethod) -> String {
        switch method {
        case .other: ""
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .delete: "DELETE"
        case .options: "OPTIONS"
        case .connect: "CONNECT"
        }
    }

    private static func word(of path: PathClass) -> String {
        switch path {
        case .other: ""
        case .generation: "generation"
        case .embeddings: "embeddings"
        case .batches: "batches"
        case .files: "files"
        case .transfer: "transfer"
        }
    }
}
