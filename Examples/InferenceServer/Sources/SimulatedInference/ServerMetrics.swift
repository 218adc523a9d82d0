import Synchronization

/// What `/metrics` shows, under the names of vLLM so that its dashboards and autoscalers work.
///
/// Source: https://docs.vllm.ai/en/stable/usage/metrics/
final class ServerMetrics: Sendable {
    private struct State {
        var promptTokens: UInt64 = 0
        var generationTokens: UInt64 = 0
        var finished: [FinishReason: UInt64] = [:]
        var queueTime = Histogram(borders: requestBorders)
        var timeToFirstToken = Histogram(borders: firstTokenBorders)
        var interTokenLatency = Histogram(borders: interTokenBorders)
        var requestLatency = Histogram(borders: requestBorders)
    }

    private let state = Mutex(State())

    /// A request has left the queue.
    func prefillStarted(promptTokenCount: Int, waitedSeconds: Double) {
        state.withLock {
            $0.promptTokens += UInt64(promptTokenCount)
            $0.queueTime.observe(waitedSeconds)
        }
    }

    /// A first token came out, this long after the request's arrival.
    func firstTokenSent(afterSeconds: Double) {
        state.withLock {
            $0.generationTokens += 1
            $0.timeToFirstToken.observe(afterSeconds)
        }
    }

    /// A further token came out, this long after the one before.
    func nextTokenSent(afterSeconds: Double) {
        state.withLock {
            $0.generationTokens += 1
            $0.interTokenLatency.observe(afterSeconds)
        }
    }

    /// A request is over, this long after its arrival.
    func requestFinished(_ reason: FinishReason, afterSeconds: Double) {
        state.withLock {
            $0.finished[reason, default: 0] += 1
            $0.requestLatency.observe(afterSeconds)
        }
    }

    /// The page of `GET /metrics`.
    func text(modelName: String, occupancy: SequenceSlots.Occupancy) -> String {
        let state = state.withLock { $0 }
        var page = PrometheusText(labels: [("engine", "0"), ("model_name", modelName)])
        page.gauge(
            "vllm:num_requests_running", "Requests that are generating.",
            Double(occupancy.running))
        page.gauge(
            "vllm:num_requests_waiting", "Requests that wait for a place.",
            Double(occupancy.waiting))
        page.counter("vllm:prompt_tokens_total", "Prompt tokens processed.", state.promptTokens)
        page.counter(
            "vllm:generation_tokens_total", "Tokens generated.", state.generationTokens)
        page.counter(
            "vllm:request_success_total", "Requests by how they ended.", by: "finished_reason",
            FinishReason.allCases.map { ($0.rawValue, state.finished[$0] ?? 0) })
        page.histogram(
            "vllm:request_queue_time_seconds", "Time a request waited for a place.",
            state.queueTime)
        page.histogram(
            "vllm:time_to_first_token_seconds", "Time from arrival to first token.",
            state.timeToFirstToken)
        page.histogram(
            "vllm:inter_token_latency_seconds", "Time between two tokens of an answer.",
            state.interTokenLatency)
        // The name that the same figure had before vLLM 0.11.
        page.histogram(
            "vllm:time_per_output_token_seconds", "Time between two tokens of an answer.",
            state.interTokenLatency)
        page.histogram(
            "vllm:e2e_request_latency_seconds", "Time from arrival to the end of an answer.",
            state.requestLatency)
        return page.text
    }

    // vLLM's borders, in seconds, so that quantiles of both compare.
    private static let firstTokenBorders = [
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20,
        40, 80, 160, 640, 2560,
    ]
    private static let interTokenBorders = [
        0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40,
        80,
    ]
    private static let requestBorders = [
        0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920,
        7680,
    ]
}
