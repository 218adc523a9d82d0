import PacketFormats

extension Flow {
    /// Looks up again what policy says, if it says something else by now.
    @inline(__always)
    mutating func refresh(_ rules: ClassRules) {
        guard rulesNumber != rules.number else { return }
        let service = rules.service(of: key)
        rulesNumber = rules.number
        serviceClass = service.trafficClass
        serviceHash = service.nameHash
    }

    /// The class of a packet, by the most trusted of what speaks of it: policy, a mark that policy
    /// believes, what heads told, how the flow behaves.
    ///
    /// - Parameter byteCount: Payload, retransmissions included. Already counted: `burst` is what
    ///   there was before it.
    mutating func classify(
        _ direction: FlowDirection, _ byteCount: Int, burst: UInt32, mark: DSCP,
        rules: ClassRules, now: UInt64
    ) -> TrafficClass {
        guard rules.isClassifying else { return .token }
        let isOutbound = direction == .outbound
        guard byteCount > 0 else {
            return acknowledgementClass(isOutbound ? out : `in`, mark, rules, now)
        }
        let decision: ClassDecision
        if let serviceClass {
            decision = ClassDecision(serviceClass, .policy, 100)
        } else if let marked = rules.marks.trafficClass(mark) {
            decision = ClassDecision(marked, .mark, 90)
        } else {
            decision = observed(direction, burst: burst, byteCount: byteCount)
        }
        withWay(direction) {
            $0.trafficClass = decision.trafficClass
            $0.evidence = decision.evidence
            $0.confidence = decision.confidence
        }
        return decision.trafficClass
    }

    /// An acknowledgement must not starve what it acknowledges, nor overtake payload of its own
    /// direction by much.
    private func acknowledgementClass(
        _ way: Way, _ mark: DSCP, _ rules: ClassRules, _ now: UInt64
    ) -> TrafficClass {
        if serviceClass == nil, let marked = rules.marks.trafficClass(mark) { return marked }
        if way.isQuiet(now: now) {
            // Policy may say that all of it is urgent, never that acknowledgements are not.
            return min(serviceClass ?? .token, .token)
        }
        return min(way.trafficClass, .prompt)
    }

    private func observed(
        _ direction: FlowDirection, burst: UInt32, byteCount: Int
    ) -> ClassDecision {
        if !isTCP { return datagramClass(direction == .outbound ? out : `in`, burst, byteCount) }
        let known = toldEvidence
        if side(direction) == .server {
            let way = direction == .outbound ? out : `in`
            if answer.isStream, !way.isFast {
                return answer.isToldStream
                    ? ClassDecision(.token, known ?? .http1, 100)
                    : ClassDecision(
                        .token, told == .tls ? .tls : .behaviour, runConfidence)
            }
        }
        // A frame that goes on beyond the beginning is none: it would hold the line for long.
        if Int(burst) + byteCount <= Int(FlowLimits.beginningBytes) {
            return ClassDecision(.token, known ?? .beginning, known == nil ? 50 : 80)
        }
        switch answer.intent {
        case .background: return ClassDecision(.background, known ?? .http1, 95)
        case .transfer: return ClassDecision(.bulk, known ?? .http1, 95)
        case .interactive:
            if side(direction) == .client {
                return answer.isLong || burst > FlowLimits.bodyBytes
                    ? ClassDecision(.bulk, known ?? .http1, 90)
                    : ClassDecision(.prompt, known ?? .http1, 90)
            }
            return burst > FlowLimits.promptBytes
                ? ClassDecision(.bulk, known ?? .http1, 80)
                : ClassDecision(.prompt, known ?? .http1, 80)
        case .unknown:
            return burst > FlowLimits.promptBytes
                ? ClassDecision(.bulk, .size, 70) : ClassDecision(.prompt, .size, 60)
        }
    }

    /// Small datagrams are questions, voice, games; what comes faster than tokens is not.
    private func datagramClass(_ way: Way, _ burst: UInt32, _ byteCount: Int) -> ClassDecision {
        if !way.isFast,
            way.ahead <= FlowLimits.beginningBytes || byteCount <= FlowLimits.smallDatagramBytes
        {
            return ClassDecision(.token, .beginning, 50)
        }
        return burst > FlowLimits.promptBytes
            ? ClassDecision(.bulk, .size, 70) : ClassDecision(.prompt, .size, 60)
    }

    /// What heads of a protocol are evidence of.
    var toldEvidence: FlowEvidence? {
        switch told {
        case .http1: .http1
        case .http2: isGRPC ? .grpc : .http2
        case .unknown, .tls, .ssh: nil
        }
    }

    /// Grows with the run, from 60 to 95.
    private var runConfidence: UInt8 {
        UInt8(60 + min(Int(max(answer.run, FlowLimits.chunksOfStream)
            - FlowLimits.chunksOfStream), 35))
    }
}

/// A class and why.
struct ClassDecision {
    var trafficClass: TrafficClass
    var evidence: FlowEvidence
    /// 0 to 100.
    var confidence: UInt8

    init(_ trafficClass: TrafficClass, _ evidence: FlowEvidence, _ confidence: UInt8) {
        self.trafficClass = trafficClass
        self.evidence = evidence
        self.confidence = confidence
    }
}
