import ArgumentParser
import Foundation
import Hummingbird
import Logging
import NIOCore
import ServiceLifecycle
import SimulatedInference
import UnixSignals

/// Serves simulated models over the OpenAI API until SIGTERM or SIGINT.
@main
struct InferenceServerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "InferenceServer",
        abstract: "An OpenAI-compatible inference server with a simulated model.",
        discussion: """
            Answers keep a model's pace and sizes and consist of random words. The last chunk of \
            each answer carries the SHA-256 of its text as branchline_sha256.

            Example:
              InferenceServer --host 10.0.0.1 --port 8000 --tokens-per-second 50 --seed 7
              curl -N http://10.0.0.1:8000/v1/chat/completions -d '{"model": "simulated-chat", \
            "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
            """)

    /// Distributions that come with the server.
    enum Lengths: String, ExpressibleByArgument, CaseIterable {
        case conversations, code
    }

    @Option(help: "Address to listen on, and only there.")
    var host = "127.0.0.1"

    @Option(help: "TCP port to listen on; 0 for any that is free.")
    var port = 8000

    @Option(help: "Name of the chat model.")
    var model = ServerSettings().chatModel

    @Option(help: "Name of the embedding model.")
    var embeddingModel = ServerSettings().embeddingModel

    @Option(help: "Pace of one answer.")
    var tokensPerSecond = ServerSettings().tokensPerSecond

    @Option(help: "Time to first token of an empty prompt, in milliseconds.")
    var firstTokenMs = ServerSettings().firstTokenBaseSeconds * 1000

    @Option(help: "Time to first token that each prompt token adds, in microseconds.")
    var promptTokenUs = ServerSettings().firstTokenSecondsPerPromptToken * 1_000_000

    @Option(help: "Answers generated at the same time; more requests wait.")
    var maxNumSeqs = ServerSettings().sequencesMax

    @Option(help: "Requests that may wait; more are answered with 429.")
    var maxWaiting = ServerSettings().waitingMax

    @Option(help: "Prompt and answer together, in tokens.")
    var maxModelLen = ServerSettings().contextTokensMax

    @Option(help: "Largest request body, in bytes.")
    var maxBodyBytes = ServerSettings().bodyBytesMax

    @Option(help: "Distribution that lengths of answers are drawn from (Azure LLM traces 2023).")
    var lengths = Lengths.conversations

    @Option(
        help: """
            Replay lengths of answers from a CSV file in the form of the Azure LLM traces \
            (arrival time, prompt tokens, generated tokens) instead.
            """,
        completion: .file(extensions: ["csv"]))
    var trace: String?

    @Option(help: "Seed that lengths, texts and vectors follow from.")
    var seed: UInt64 = 0

    @Option(help: "Seconds that running answers get to end after SIGTERM.")
    var shutdownSeconds = 10

    func validate() throws {
        try require((0...65_535).contains(port), "--port must be from 0 to 65535.")
        try require(!model.isEmpty && !embeddingModel.isEmpty, "A model needs a name.")
        try require(model != embeddingModel, "--model and --embedding-model must differ.")
        try require(
            tokensPerSecond > 0 && tokensPerSecond <= 1_000_000,
            "--tokens-per-second must be above 0 and at most 1000000.")
        try require(
            (0...3_600_000).contains(firstTokenMs), "--first-token-ms must be from 0 to 3600000.")
        try require(
            (0...1_000_000).contains(promptTokenUs), "--prompt-token-us must be from 0 to 1000000.")
        try require((1...100_000).contains(maxNumSeqs), "--max-num-seqs must be 1 to 100000.")
        try require((0...100_000).contains(maxWaiting), "--max-waiting must be 0 to 100000.")
        try require(
            (2...10_000_000).contains(maxModelLen), "--max-model-len must be 2 to 10000000.")
        try require(
            (1...(1 << 30)).contains(maxBodyBytes), "--max-body-bytes must be 1 to \(1 << 30).")
        try require((0...3600).contains(shutdownSeconds), "--shutdown-seconds must be 0 to 3600.")
    }

    func run() async throws {
        LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
        var logger = Logger(label: "inference-server")
        logger.logLevel = .notice
        let host = host
        let application = InferenceApplication.make(
            settings: try settings(), host: host, port: port, logger: logger
        ) { port in
            let shownHost = host.contains(":") ? "[\(host)]" : host
            // Unbuffered: a reader of a pipe waits for this line.
            FileHandle.standardOutput.write(
                Data("listening on http://\(shownHost):\(port)\n".utf8))
        }
        var configuration = ServiceGroupConfiguration(
            services: [application], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        configuration.maximumGracefulShutdownDuration = .seconds(shutdownSeconds)
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch let error as IOError {
            let reason = unsafe String(cString: strerror(error.errnoCode))
            let hint = "choose an address of this machine with --host and a free port with --port"
            FileHandle.standardError.write(
                Data("Error: cannot listen on \(host) port \(port): \(reason); \(hint)\n".utf8))
            throw ExitCode.failure
        }
    }

    private func settings() throws -> ServerSettings {
        var settings = ServerSettings()
        settings.chatModel = model
        settings.embeddingModel = embeddingModel
        settings.tokensPerSecond = tokensPerSecond
        settings.firstTokenBaseSeconds = firstTokenMs / 1000
        settings.firstTokenSecondsPerPromptToken = promptTokenUs / 1_000_000
        settings.sequencesMax = maxNumSeqs
        settings.waitingMax = maxWaiting
        settings.contextTokensMax = maxModelLen
        settings.bodyBytesMax = maxBodyBytes
        settings.outputLengths = try outputLengths()
        settings.seed = seed
        return settings
    }

    private func outputLengths() throws -> OutputLengths {
        guard let trace else {
            return .drawn(lengths == .code ? .azureCode : .azureConversations)
        }
        let text: String
        do {
            text = try String(contentsOfFile: trace, encoding: .utf8)
        } catch {
            throw ValidationError("cannot read the trace \(trace): \(error.localizedDescription)")
        }
        do {
            return .replayed(try RequestTrace(csv: text))
        } catch {
            throw ValidationError("\(trace): \(error)")
        }
    }

    private func require(_ condition: Bool, _ message: String) throws {
        if !condition { throw ValidationError(message) }
    }
}
