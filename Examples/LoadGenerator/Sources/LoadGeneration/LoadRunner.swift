import AsyncHTTPClient
import NIOCore
import Synchronization

/// Sends what a plan says and measures what comes back. In parallel:
///
/// 1. clients of a mix, each one request after another; or a trace, request by request at its time
/// 2. a clock that ends the run once its time and its grace are over
public final class LoadRunner: Sendable {
    /// What a progress bar shows.
    public struct Progress: Sendable {
        public let seconds: Double
        public let underWay: Int
        public let requests: Int
        public let failures: Int
        public let bytes: Int
    }

    private struct State {
        var results: [TrafficKind: KindResult] = [:]
        var underWay = 0
        var lateRequests = 0
    }

    let plan: LoadPlan
    let service: InferenceService
    let bodies: RequestBodies
    let budget: ByteBudget
    private let state = Mutex(State())
    private let began: UInt64
    private let isStopped = Atomic<Bool>(false)

    public init(plan: LoadPlan, service: InferenceService) {
        self.plan = plan
        self.service = service
        bodies = RequestBodies(
            chatModel: service.chatModel, embeddingModel: service.embeddingModel)
        budget = ByteBudget(bytesMax: plan.limits.bytesMax)
        began = ResponseRecorder.now()
    }

    public var progress: Progress {
        state.withLock { state in
            Progress(
                seconds: seconds, underWay: state.underWay,
                requests: state.results.values.reduce(0) { $0 + $1.requests },
                failures: state.results.values.reduce(0) { $0 + $1.failures },
                bytes: budget.bytes)
        }
    }

    /// Lets no further request begin and cuts those under way.
    public func stop() {
        isStopped.store(true, ordering: .relaxed)
    }

    /// Runs the plan to its end.
    public func run() async -> LoadResult {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.send() }
            group.addTask { await self.awaitEnd() }
            await group.next()
            group.cancelAll()
        }
        let seconds = min(seconds, plan.limits.durationSeconds + plan.limits.graceSeconds)
        return state.withLock { state in
            LoadResult(
                seconds: seconds,
                kinds: TrafficKind.allCases.compactMap { kind in
                    state.results[kind].map { (kind, $0) }
                }, lateRequests: state.lateRequests)
        }
    }

    private var seconds: Double { Double(ResponseRecorder.now() - began) / 1e9 }

    private func awaitEnd() async {
        let end = plan.limits.durationSeconds + plan.limits.graceSeconds
        while seconds < end, !isStopped.load(ordering: .relaxed), !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    private func send() async {
        switch plan.source {
        case .mix(let counts): await send(counts)
        case .trace(let trace, let speed): await replay(trace, speed: speed)
        }
    }

    /// Whether a further request may begin.
    private var goesOn: Bool {
        !Task.isCancelled && !isStopped.load(ordering: .relaxed) && !budget.isSpent
            && seconds < plan.limits.durationSeconds
    }

    // MARK: A mix

    private func send(_ counts: [TrafficKind: Int]) async {
        await withDiscardingTaskGroup { group in
            var client = 0
            for kind in TrafficKind.allCases {
                for number in 0..<(counts[kind] ?? 0) {
                    let stream = UInt64(client)
                    client += 1
                    group.addTask {
                        await self.serve(kind, number: number, stream: stream)
                    }
                }
            }
        }
    }

    /// One client: its requests one after another.
    private func serve(_ kind: TrafficKind, number: Int, stream: UInt64) async {
        var text = PromptText(seed: plan.seed, stream: stream)
        while goesOn {
            let isAnswered = await request(kind, number: number, text: &text)
            // A server that refuses everything is not to be flooded.
            let pause = isAnswered ? plan.pauseSeconds : max(plan.pauseSeconds, 0.2)
            if pause > 0 { try? await Task.sleep(for: .seconds(pause)) }
        }
    }

    private func request(
        _ kind: TrafficKind, number: Int, text: inout PromptText
    ) async -> Bool {
        let sizes = plan.sizes
        switch kind {
        case .chat, .prompt:
            let bytes = kind == .chat ? sizes.promptBytes : sizes.longPromptBytes
            let body = bodies.chat(
                prompt: text.next(byteCount: bytes), tokens: sizes.answerTokens,
                isExact: sizes.isAnswerExact)
            return await perform(kind) { try await $0.chat(body) }
        case .embeddings:
            let inputs = (0..<sizes.embeddingInputs).map { _ in
                text.next(byteCount: sizes.embeddingInputBytes)
            }
            let body = bodies.embeddings(inputs)
            return await perform(kind) { try await $0.post("/embeddings", body) }
        case .agent:
            let task = text.next(byteCount: Self.agentTaskBytes)
            var results: [String] = []
            for _ in 0..<sizes.agentSteps where goesOn {
                let body = bodies.agent(
                    task: task, results: results, tokens: Self.agentAnswerTokens)
                guard await perform(kind, { try await $0.post("/chat/completions", body) })
                else { return false }
                results.append(text.next(byteCount: Self.agentTaskBytes))
            }
            return true
        case .bulk:
            let isUp = plan.bulkDirection == .up
                || (plan.bulkDirection == .both && number.isMultiple(of: 2))
            let bytes = sizes.bulkBytes
            return await perform(kind) { sender in
                try await isUp ? sender.upload(bytes) : sender.download(bytes)
            }
        case .exchange:
            return await exchange()
        }
    }

    /// A sequence of a split model: each token is one exchange, the next begins after it.
    private func exchange() async -> Bool {
        let block = ByteBuffer(repeating: 0x5a, count: plan.sizes.exchangeBytes)
        for _ in 0..<plan.sizes.exchangeTokens where goesOn {
            let isAnswered = await perform(.exchange, isToken: true) { sender in
                try await sender.exchange(block)
            }
            if !isAnswered { return false }
        }
        return true
    }

    private static let agentTaskBytes = 1_024
    private static let agentAnswerTokens = 24

    // MARK: A trace

    private func replay(_ trace: RequestTrace, speed: Double) async {
        await withTaskGroup(of: Void.self) { group in
            var underWay = 0
            for (ordinal, request) in trace.requests.enumerated() {
                let due = request.arrivalSeconds / speed
                guard due < plan.limits.durationSeconds else { break }
                while seconds < due, goesOn {
                    try? await Task.sleep(for: .seconds(min(due - seconds, 0.1)), tolerance: .zero)
                }
                if underWay >= plan.limits.concurrencyMax {
                    await group.next()
                    underWay -= 1
                }
                guard goesOn else { break }
                if seconds > due + Self.lateSeconds {
                    state.withLock { $0.lateRequests += 1 }
                }
                underWay += 1
                group.addTask { await self.replay(request, ordinal: ordinal) }
            }
        }
    }

    private func replay(_ request: RequestTrace.Request, ordinal: Int) async {
        var text = PromptText(seed: plan.seed, stream: UInt64(ordinal))
        let bytes = max(1, request.promptTokenCount * Self.bytesPerToken)
        let body = bodies.chat(
            prompt: text.next(byteCount: bytes), tokens: request.outputTokenCount,
            isExact: plan.sizes.isAnswerExact)
        // What a network is to treat as a long prompt: more than 16 KiB.
        let kind: TrafficKind = bytes > Self.shortPromptBytesMax ? .prompt : .chat
        _ = await perform(kind) { try await $0.chat(body) }
    }

    private static let lateSeconds = 0.1
    /// As English has on average.
    private static let bytesPerToken = 4
    private static let shortPromptBytesMax = 16_384

    // MARK: One request

    /// - Parameter isToken: Whether the whole request counts as one token's time.
    private func perform(
        _ kind: TrafficKind, isToken: Bool = false,
        _ body: (RequestSender) async throws -> RequestRecord
    ) async -> Bool {
        state.withLock { $0.underWay += 1 }
        let sender = RequestSender(service: service, budget: budget)
        do {
            let record = try await body(sender)
            state.withLock { state in
                state.underWay -= 1
                var result = state.results[kind] ?? KindResult()
                result.add(record)
                if isToken { result.noteGap(record.ended - record.began) }
                state.results[kind] = result
            }
            return true
        } catch {
            let isCut = Task.isCancelled
            let words = RequestSender.words(for: error, base: service.base)
            state.withLock { state in
                state.underWay -= 1
                if isCut {
                    state.results[kind, default: KindResult()].cut += 1
                } else {
                    state.results[kind, default: KindResult()].fail(words)
                }
            }
            return false
        }
    }
}
