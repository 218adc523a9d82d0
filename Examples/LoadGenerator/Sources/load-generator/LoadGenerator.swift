public import ArgumentParser
import AsyncHTTPClient
import Foundation
public import LoadGeneration
import NIOCore
import NIOSSL

/// Makes inference traffic and measures how it fares.
@main
struct LoadGenerator: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load-generator",
        abstract: "Inference traffic for any OpenAI-compatible server, measured per class.",
        discussion: """
            A mix names clients of each kind: chat, prompt (long ones), embeddings, agent (tool \
            calls), and, against this repository's InferenceServer, bulk (KV-like blocks) and \
            exchange (split inference). A trace is replayed at its own times instead.

            EXAMPLES:
              load-generator http://10.0.0.1:8000 --mix chat=20,bulk=4 --duration 60
              load-generator http://10.0.0.1:8000 --trace Traces/azure-conversations-2023.csv \
            --speed 2 --json result.json
            """)

    @Argument(help: "The server, as http://10.0.0.1:8000 or https://api.example/v1.")
    var address: String

    @Option(help: "Clients of each kind, as chat=20,prompt=2.")
    var mix = Mix([.chat: 8, .prompt: 1, .embeddings: 1, .agent: 2])

    @Option(
        help: "Replay a CSV file in the form of the Azure LLM traces instead of a mix.",
        completion: .file(extensions: ["csv"]))
    var trace: String?

    @Option(help: "How many times as fast as recorded a trace is replayed.")
    var speed = 1.0

    @Option(help: "Seconds after which no request begins.")
    var duration = 30.0

    @Option(help: "Seconds that requests under way then get to end.")
    var grace = 5.0

    @Option(help: "Requests under way at a time.")
    var concurrency = 256

    @Option(help: "Payload of both directions, in bytes, after which no request begins.")
    var maxBytes = 10 << 30

    @Option(help: "Chat model; by default the server's first.")
    var model: String?

    @Option(help: "Embedding model; by default the server's first with such a name.")
    var embeddingModel: String?

    @Option(help: "Most tokens of an answer.")
    var tokens = LoadPlan.Sizes().answerTokens

    @Flag(help: "Ask for exactly as many, with min_tokens: vLLM and InferenceServer know it.")
    var exactLengths = false

    @Option(help: "Bytes of a chat's prompt.")
    var promptBytes = LoadPlan.Sizes().promptBytes

    @Option(help: "Bytes of a long prompt.")
    var longPromptBytes = LoadPlan.Sizes().longPromptBytes

    @Option(help: "Bytes of a bulk transfer.")
    var bulkBytes = LoadPlan.Sizes().bulkBytes

    @Option(help: "Where bulk goes: up, down, or both by turns.")
    var bulkDirection = LoadPlan.BulkDirection.both

    @Option(help: "Bytes that an exchange carries each way for a token.")
    var exchangeBytes = LoadPlan.Sizes().exchangeBytes

    @Option(help: "Milliseconds that a client rests between requests.")
    var pauseMs = 0.0

    @Option(help: "Seed that all texts follow from.")
    var seed: UInt64 = 0

    @Option(help: "Write the result here as JSON; - for standard output.", completion: .file())
    var json: String?

    @Option(help: "Certificates to trust instead of the system's, as PEM.", completion: .file())
    var caFile: String?

    @Flag(help: "Accept any certificate.")
    var insecure = false

    @Flag(help: "Show no progress bar.")
    var quiet = false

    func validate() throws {
        try require(duration > 0 && duration <= 86_400, "--duration takes more than 0, to 86400")
        try require((0...3_600).contains(grace), "--grace takes 0 to 3600")
        try require((1...10_000).contains(concurrency), "--concurrency takes 1 to 10000")
        try require(
            trace != nil || mix.counts.values.reduce(0, +) <= concurrency,
            "--mix has more clients than --concurrency allows")
        try require(speed > 0 && speed.isFinite, "--speed must be above 0")
        try require(maxBytes > 0, "--max-bytes must be above 0")
        try require((1...1_000_000).contains(tokens), "--tokens takes 1 to 1000000")
        for (name, bytes) in [
            ("prompt-bytes", promptBytes), ("long-prompt-bytes", longPromptBytes),
            ("bulk-bytes", bulkBytes), ("exchange-bytes", exchangeBytes),
        ] {
            try require((1...(1 << 30)).contains(bytes), "--\(name) takes 1 to \(1 << 30)")
        }
        try require((0...3_600_000).contains(pauseMs), "--pause-ms takes 0 to 3600000")
    }

    func run() async throws {
        let plan = try makePlan()
        let client = HTTPClient(
            eventLoopGroupProvider: .singleton, configuration: try clientConfiguration())
        do {
            let result = try await run(plan, client)
            try await client.shutdown()
            try report(result)
        } catch {
            try? await client.shutdown()
            guard let error = error as? LoadError else { throw error }
            FileHandle.standardError.write(Data("Error: \(error)\n".utf8))
            throw ExitCode.failure
        }
    }

    private func run(_ plan: LoadPlan, _ client: HTTPClient) async throws -> LoadResult {
        let service = try await InferenceService.connect(
            client: client, address: address,
            key: ProcessInfo.processInfo.environment["OPENAI_API_KEY"], chatModel: model,
            embeddingModel: embeddingModel)
        let runner = LoadRunner(plan: plan, service: service)
        // Ctrl-C ends the run, and what was measured is shown all the same.
        signal(SIGINT, SIG_IGN)
        let interrupt = DispatchSource.makeSignalSource(signal: SIGINT)
        interrupt.setEventHandler { runner.stop() }
        interrupt.resume()
        defer { interrupt.cancel() }
        let bar = Task {
            guard !quiet, isatty(STDERR_FILENO) == 1 else { return }
            await ProgressBar(durationSeconds: duration).follow(runner)
        }
        let result = await runner.run()
        bar.cancel()
        await bar.value
        return result
    }

    private func report(_ result: LoadResult) throws {
        if json != "-" { print(result.table) }
        if result.lateRequests > 0 {
            warn("\(result.lateRequests) requests of the trace were late; raise --concurrency")
        }
        result.failures.forEach(warn)
        if let json {
            let text = Data((result.json + "\n").utf8)
            if json == "-" {
                FileHandle.standardOutput.write(text)
            } else {
                do {
                    try text.write(to: URL(filePath: json))
                } catch {
                    throw LoadError("cannot write \(json): \(error.localizedDescription)")
                }
            }
        }
        if result.isFailure { throw LoadError("no request was answered") }
    }

    private func warn(_ words: String) {
        FileHandle.standardError.write(Data("Warning: \(words)\n".utf8))
    }

    private func makePlan() throws -> LoadPlan {
        var plan = LoadPlan(source: .mix(mix.counts))
        if let trace {
            let text: String
            do {
                text = try String(contentsOfFile: trace, encoding: .utf8)
            } catch {
                throw ValidationError("cannot read \(trace): \(error.localizedDescription)")
            }
            do {
                plan.source = .trace(try RequestTrace(csv: text), speed: speed)
            } catch {
                throw ValidationError("\(trace): \(error)")
            }
        }
        plan.sizes.answerTokens = tokens
        plan.sizes.isAnswerExact = exactLengths
        plan.sizes.promptBytes = promptBytes
        plan.sizes.longPromptBytes = longPromptBytes
        plan.sizes.bulkBytes = bulkBytes
        plan.sizes.exchangeBytes = exchangeBytes
        plan.limits.durationSeconds = duration
        plan.limits.graceSeconds = grace
        plan.limits.concurrencyMax = concurrency
        plan.limits.bytesMax = maxBytes
        plan.bulkDirection = bulkDirection
        plan.pauseSeconds = pauseMs / 1000
        plan.seed = seed
        return plan
    }

    private func clientConfiguration() throws -> HTTPClient.Configuration {
        var tls = TLSConfiguration.makeClientConfiguration()
        if insecure { tls.certificateVerification = .none }
        if let caFile {
            do {
                tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(caFile))
            } catch {
                throw ValidationError("cannot read certificates from \(caFile): \(error)")
            }
        }
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
        configuration.timeout.connect = .seconds(10)
        // Each client keeps its connection, as programs do that talk to a model all day.
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = concurrency
        configuration.redirectConfiguration = .disallow
        return configuration
    }

    private func require(_ condition: Bool, _ message: String) throws {
        if !condition { throw ValidationError(message) }
    }
}

extension LoadPlan.BulkDirection: ExpressibleByArgument {}

/// `chat=20,bulk=4`
struct Mix: ExpressibleByArgument, CustomStringConvertible {
    let counts: [TrafficKind: Int]

    init(_ counts: [TrafficKind: Int]) {
        self.counts = counts
    }

    init?(argument: String) {
        var counts: [TrafficKind: Int] = [:]
        for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", omittingEmptySubsequences: false)
            guard pair.count == 2, let kind = TrafficKind(rawValue: String(pair[0])),
                let count = Int(pair[1]), (0...10_000).contains(count), counts[kind] == nil
            else { return nil }
            counts[kind] = count
        }
        guard counts.values.contains(where: { $0 > 0 }) else { return nil }
        self.counts = counts
    }

    var description: String {
        TrafficKind.allCases.compactMap { kind in counts[kind].map { "\(kind.rawValue)=\($0)" } }
            .joined(separator: ",")
    }
}
