import ControlModel
import Foundation
import Testing

@testable import Coordinator

private let joinCount = ProcessInfo.processInfo.environment["BRANCHLINE_MEASURE_JOINS"]
    .flatMap { Int($0) }

/// Joins a second, with every commit on disk. Only with BRANCHLINE_MEASURE_JOINS set, to how many.
@Suite(.enabled(if: joinCount != nil), .serialized)
struct JoinMeasurement {
    @Test(arguments: Backend.available)
    func joins(over backend: Backend) async throws {
        let count = joinCount ?? 0
        try await withWorld(backend) { world in
            let tokens = try await inParallel(count) { _ in try await world.token() }
            let nodes = try tokens.enumerated().map { number, token in
                try world.enrolment(token, name: "node-\(number)").enrolment
            }
            let elapsed = try await ContinuousClock().measure {
                _ = try await inParallel(count) { try await world.service.enrol(nodes[$0]) }
            }
            let seconds = Double(elapsed.components.seconds)
                + Double(elapsed.components.attoseconds) * 1e-18
            print("\(backend.rawValue): \(count) joins in \(seconds) s: "
                + "\(Int(Double(count) / seconds)) joins/s")
        }
    }

    /// As many at once as a busy coordinator has requests.
    private func inParallel<Value: Sendable>(
        _ count: Int, _ body: @escaping @Sendable (Int) async throws -> Value
    ) async throws -> [Value] {
        try await withThrowingTaskGroup(of: Value.self) { group in
            var values: [Value] = []
            for index in 0..<count {
                if index >= 64, let value = try await group.next() { values.append(value) }
                group.addTask { try await body(index) }
            }
            for try await value in group { values.append(value) }
            return values
        }
    }
}
