import Synchronization

/// Runs planned answers at the model's pace.
///
/// An answer's way, each step serial, answers in parallel:
/// 1. claim a place, or one in the queue
/// 2. wait for the turn
/// 3. prefill: wait for the time to first token
/// 4. send tokens, each at its own deadline, so that a late one does not delay the next
final class InferenceEngine: Sendable {
    /// What a reader of an answer gets.
    enum Event: Sendable {
        case token(String)
        /// The last event. A stream that ends without it was cut.
        case finished(FinishReason)
    }

    let settings: ServerSettings
    let metrics = ServerMetrics()
    private let model: SimulatedModel
    private let slots: SequenceSlots
    private let nextOrdinal = Atomic<UInt64>(0)
    private let clock = ContinuousClock()

    init(settings: ServerSettings) {
        self.settings = settings
        model = SimulatedModel(settings: settings)
        slots = SequenceSlots(
            runningMax: settings.sequencesMax, waitingMax: settings.waitingMax)
    }

    var occupancy: SequenceSlots.Occupancy { slots.occupancy }

    /// Starts an answer.
    /// - Parameter request: Validated.
    /// - Throws: ``OpenAIError/overloaded`` when the queue is full.
    func generate(_ request: ChatRequest) throws(OpenAIError) -> Generation {
        let arrival = clock.now
        guard let ticket = slots.claim() else { throw .overloaded }
        let ordinal = nextOrdinal.add(1, ordering: .relaxed).oldValue
        let plan = model.plan(request, ordinal: ordinal)
        let (events, continuation) = AsyncStream.makeStream(of: Event.self)
        let task = Task {
            do {
                try await run(plan, ticket: ticket, arrival: arrival, into: continuation)
            } catch {
                metrics.requestFinished(.abort, afterSeconds: seconds(since: arrival))
            }
            slots.release(ticket)
            continuation.finish()
        }
        // A reader that stops reading, for whatever reason, ends the work.
        continuation.onTermination = { _ in task.cancel() }
        return Generation(ordinal: ordinal, plan: plan, events: events, cancel: task.cancel)
    }

    /// Embeds all inputs, which takes as long as a prefill of their tokens.
    /// - Throws: ``OpenAIError/overloaded``; `CancellationError`.
    func embed(_ request: EmbeddingsRequest) async throws -> [[Float]] {
        guard let ticket = slots.claim() else { throw OpenAIError.overloaded }
        defer { slots.release(ticket) }
        try await slots.turn(of: ticket)
        let wait = settings.firstTokenSeconds(promptTokenCount: request.tokenCount)
        try await clock.sleep(until: clock.now + .seconds(wait), tolerance: .zero)
        let dimensions = request.dimensions ?? settings.embeddingDimensions
        return request.inputs.map { model.embedding(of: $0.identity, dimensions: dimensions) }
    }

    private func run(
        _ plan: CompletionPlan, ticket: SequenceSlots.Ticket, arrival: ContinuousClock.Instant,
        into continuation: AsyncStream<Event>.Continuation
    ) async throws {
        try await slots.turn(of: ticket)
        metrics.prefillStarted(
            promptTokenCount: plan.promptTokenCount, waitedSeconds: seconds(since: arrival))
        let prefillSeconds = settings.firstTokenSeconds(promptTokenCount: plan.promptTokenCount)
        let firstDeadline = clock.now + .seconds(prefillSeconds)
        var previous = arrival
        for (index, token) in plan.tokens.enumerated() {
            let offset = Duration.seconds(Double(index) / settings.tokensPerSecond)
            try await clock.sleep(until: firstDeadline + offset, tolerance: .zero)
            continuation.yield(.token(token))
            let elapsed = seconds(since: previous)
            previous = clock.now
            if index == 0 {
                metrics.firstTokenSent(afterSeconds: elapsed)
            } else {
                metrics.nextTokenSent(afterSeconds: elapsed)
            }
        }
        metrics.requestFinished(plan.finishReason, afterSeconds: seconds(since: arrival))
        continuation.yield(.finished(plan.finishReason))
    }

    private func seconds(since instant: ContinuousClock.Instant) -> Double {
        (clock.now - instant) / .seconds(1)
    }
}

/// An answer in the making.
struct Generation: Sendable {
    /// How many answers were started before.
    let ordinal: UInt64
    let plan: CompletionPlan
    let events: AsyncStream<InferenceEngine.Event>
    /// Ends it early and frees its place.
    let cancel: @Sendable () -> Void
}
