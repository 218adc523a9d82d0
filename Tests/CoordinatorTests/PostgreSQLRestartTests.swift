import ControlModel
import Foundation
import Synchronization
import Testing

@testable import Coordinator

/// A server of this test's own, which crashes while it is written to.
@Suite(.enabled(if: Backend.server != nil)) struct PostgreSQLRestartTests {
    @Test func whatWasAnsweredSurvivesACrashOfTheServer() async throws {
        let folder = "/tmp/branchline-restart-\(UUID().uuidString.prefix(8))"
        let conninfo = try script("start", folder)
        defer { _ = try? script("stop", folder) }
        let storage = PostgreSQLStorage(conninfo)
        try await storage.write {
            try $0.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)", [])
        }
        let tally = Tally()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<8 {
                group.addTask { try await tally.keepInserting(from: Int64(writer), storage) }
            }
            try await Task.sleep(for: .milliseconds(300))
            _ = try script("restart", folder)
            // Writes go on by themselves.
            let before = tally.answered.count
            let deadline = ContinuousClock.now + .seconds(120)
            while tally.answered.count < before + 20, .now < deadline {
                try await Task.sleep(for: .milliseconds(20))
            }
            #expect(tally.answered.count >= before + 20)
            tally.stop()
            try await group.waitForAll()
        }
        #expect(tally.refused.isSubset(of: ["storage_unavailable"]))
        let kept = try await storage.read { try $0.rows("SELECT id FROM t", []) }
        #expect(tally.answered.isSubset(of: try kept.map { try $0.integer(0) }))
        await storage.close()
    }

    /// Runs Tests/postgresql.sh, and returns what it prints.
    private func script(_ verb: String, _ folder: String) throws -> String {
        let process = Process(), output = Pipe()
        process.executableURL = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "postgresql.sh")
        process.arguments = [verb, folder]
        process.standardOutput = output
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        // Until all who could write have gone there is no end: only what was printed is read.
        guard verb == "start" else { return "" }
        return String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }
}

/// What writers were answered.
private final class Tally: Sendable {
    private struct State {
        var answered: Set<Int64> = []
        var refused: Set<String> = []
        var isDone = false
    }

    private let state = Mutex(State())

    var answered: Set<Int64> { state.withLock { $0.answered } }
    var refused: Set<String> { state.withLock { $0.refused } }
    func stop() { state.withLock { $0.isDone = true } }

    /// Inserts every eighth number until told to stop.
    func keepInserting(from start: Int64, _ storage: any Storage) async throws {
        var id = start
        while !state.withLock({ $0.isDone }) {
            id += 8
            let row = id
            do {
                try await storage.write {
                    try $0.execute("INSERT INTO t (id) VALUES (?)", [.integer(row)])
                }
                state.withLock { _ = $0.answered.insert(row) }
            } catch let problem as CoordinatorAPI.Problem {
                // Of anything else than an outage all is told.
                let isOutage = problem.reason == "storage_unavailable"
                let text = isOutage ? problem.reason : problem.detail
                state.withLock { _ = $0.refused.insert(text) }
                try await Task.sleep(for: .milliseconds(5))
            }
        }
    }
}
