import Foundation
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import Testing

@testable import SimulatedInference

/// A server on a free port of the loopback interface, and what its clients say.
enum TestServer {
    /// Answers at once, as fast as it can, with 20 tokens.
    static var quickSettings: ServerSettings {
        var settings = ServerSettings()
        settings.tokensPerSecond = 1_000_000
        settings.firstTokenBaseSeconds = 0
        settings.firstTokenSecondsPerPromptToken = 0
        settings.outputLengths = .fixed(20)
        return settings
    }

    static func application(_ settings: ServerSettings) -> some ApplicationProtocol {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return InferenceApplication.make(
            settings: settings, host: "localhost", port: 0, logger: logger)
    }

    static func run<Value>(
        _ settings: ServerSettings = quickSettings, over setup: TestingSetup = .live,
        _ body: @Sendable (any TestClientProtocol) async throws -> Value
    ) async throws -> Value {
        try await application(settings).test(setup, body)
    }
}

extension TestClientProtocol {
    /// A chat request with further members, as JSON text.
    func chat(_ more: String = "", content: String = "Hello") async throws -> TestResponse {
        try await post(
            "/v1/chat/completions",
            """
            {"model": "simulated-chat", \
            "messages": [{"role": "user", "content": "\(content)"}]\(more)}
            """)
    }

    func post(_ uri: String, _ body: String) async throws -> TestResponse {
        try await execute(
            uri: uri, method: .post, headers: [.contentType: "application/json"],
            body: ByteBuffer(string: body))
    }

    /// The value of one sample of `/metrics`, by the start of its line.
    func metric(_ name: String, label: String = "") async throws -> Double? {
        let page = try await execute(uri: "/metrics", method: .get)
        let line = String(buffer: page.body).split(separator: "\n").first {
            $0.hasPrefix(name + "{") && (label.isEmpty || $0.contains(label))
        }
        return line.flatMap { $0.split(separator: " ").last }.flatMap { Double($0) }
    }

    /// Waits until a sample has a value, for a minute at least.
    func waitForMetric(_ name: String, label: String = "", _ value: Double) async throws -> Bool {
        for _ in 0..<3_000 {
            if try await metric(name, label: label) == value { return true }
            try await Task.sleep(for: .milliseconds(20))
        }
        return false
    }
}

extension TestResponse {
    /// The body as a JSON object.
    var object: [String: Any] {
        get throws {
            let value = try JSONSerialization.jsonObject(with: Data(body.readableBytesView))
            return try #require(value as? [String: Any])
        }
    }

    /// The data of each server-sent event.
    var events: [String] {
        String(buffer: body).components(separatedBy: "\n\n").filter { !$0.isEmpty }
            .map { String($0.dropFirst("data: ".count)) }
    }

    /// Each event that is a chunk.
    var chunks: [[String: Any]] {
        get throws {
            try events.filter { $0 != "[DONE]" }.map { event in
                let value = try JSONSerialization.jsonObject(with: Data(event.utf8))
                return try #require(value as? [String: Any])
            }
        }
    }

    /// The text that the chunks of a stream carry.
    var streamedText: String {
        get throws {
            try chunks.compactMap { $0.delta?["content"] as? String }.joined()
        }
    }
}

extension [String: Any] {
    var choice: [String: Any]? { (self["choices"] as? [[String: Any]])?.first }
    var delta: [String: Any]? { choice?["delta"] as? [String: Any] }
    var error: [String: Any]? { self["error"] as? [String: Any] }
    var usage: [String: Int]? { self["usage"] as? [String: Int] }
}
