import Foundation
import HummingbirdTesting
import Testing

@testable import SimulatedInference

/// The official Python client against the server.
///
/// Runs where `python3`, or the program that `INFERENCE_SERVER_PYTHON` names, has the package
/// `openai`.
@Suite struct OpenAIClientTests {
    @Test(
        .enabled(
            if: isClientInstalled,
            "needs a Python with the package openai; name it in INFERENCE_SERVER_PYTHON"))
    func officialClientUnderstandsTheServer() async throws {
        try await TestServer.run { client in
            let script = URL(filePath: #filePath).deletingLastPathComponent()
                .deletingLastPathComponent().appending(path: "openai_client.py").path
            let url = "http://localhost:\(try #require(client.port))/v1"
            #expect(try await Self.run([Self.python, script, url]) == 0)
        }
    }

    private static let python =
        ProcessInfo.processInfo.environment["INFERENCE_SERVER_PYTHON"] ?? "python3"

    private static let isClientInstalled: Bool = {
        let probe = Process()
        probe.executableURL = URL(filePath: "/usr/bin/env")
        probe.arguments = [python, "-c", "import openai"]
        probe.standardError = FileHandle.nullDevice
        guard (try? probe.run()) != nil else { return false }
        probe.waitUntilExit()
        return probe.terminationStatus == 0
    }()

    private static func run(_ command: [String]) async throws -> Int32 {
        try await withCheckedThrowingContinuation { continuation in
            let process = Process()
            process.executableURL = URL(filePath: "/usr/bin/env")
            process.arguments = command
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do {
                try process.run()
            } catch {
                process.terminationHandler = nil
                continuation.resume(throwing: error)
            }
        }
    }
}
