import ControlModel
import Synchronization

/// Makes connections, and after failures waits before it tries again.
///
/// Nobody sleeps here: until the next attempt is due, whoever asks hears at once that there is no
/// connection.
final class PostgreSQLConnector: Sendable {
    private struct State {
        var failures = 0
        var nextAttempt = ContinuousClock.now
        var fault = ""
    }

    private let conninfo: String
    private let state = Mutex(State())

    init(_ conninfo: String) { self.conninfo = conninfo }

    /// - Throws: `storage_unavailable`.
    func connect() throws -> PostgreSQLConnection {
        let fault = state.withLock { state in
            ContinuousClock.now < state.nextAttempt ? state.fault : nil
        }
        if let fault {
            throw PostgreSQLConnection.problem(of: .init(detail: fault))
        }
        do {
            let connection = try PostgreSQLConnection(conninfo)
            state.withLock { $0 = State() }
            return connection
        } catch let lost as PostgreSQLConnection.Lost {
            state.withLock { state in
                let doublings = min(state.failures, Self.doublingsMax)
                state.failures += 1
                state.fault = lost.detail
                state.nextAttempt = .now + Self.firstDelay * (1 << doublings)
            }
            throw PostgreSQLConnection.problem(of: lost)
        }
    }

    private static let firstDelay = Duration.milliseconds(50)
    /// Up to 3.2 seconds.
    private static let doublingsMax = 6
}
