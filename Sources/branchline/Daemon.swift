import Foundation
import Glibc

/// Finds and starts the program that serves an interface.
struct Daemon {
    let path: String

    /// - Parameter choice: Path of the program as the user gave it; without it the environment
    ///   variable BRANCHLINED, this program's folder and PATH are tried in this order.
    init(choice: String?) throws {
        if let named = choice ?? environment("BRANCHLINED") {
            guard let found = Program.find(named) else {
                throw Failure.badInput("there is no program \(named) to serve the interface")
            }
            path = found
            return
        }
        guard let found = Self.sibling ?? Program.find(Self.program) else {
            throw Failure.failed(
                "\(Self.program) is neither beside this program nor in PATH; install it, or name "
                    + "it with --daemon")
        }
        path = found
    }

    /// Starts the program and returns when it has made the interface and left the foreground.
    ///
    /// - Throws: If it did not make the interface; one of that name is then somebody else's.
    func start(_ socket: InterfaceSocket, arguments: [String] = []) throws {
        let code = try Program.run(path, arguments + [socket.name])
        guard code == 0 else {
            throw Failure.failed(
                "\(path) did not start (exit code \(code)); its own message says why")
        }
    }

    /// Returns when the started program answers at its socket.
    func awaitService(_ socket: InterfaceSocket) throws {
        guard try waitUntil({ socket.isLive }) else {
            throw Failure.failed("\(path) started but does not serve \(socket.path)")
        }
    }

    /// The daemon in the folder of this program.
    private static var sibling: String? {
        let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        guard let own, let slash = own.lastIndex(of: "/") else { return nil }
        let path = "\(own[..<slash])/\(program)"
        return Program.isExecutable(path) ? path : nil
    }

    private static let program = "branchlined"
}

/// Waits a few seconds at most.
///
/// - Parameter checksMax: How often to look, 50 ms apart.
/// - Returns: Whether the condition has come true.
func waitUntil(checksMax: Int = 100, _ condition: () -> Bool) throws -> Bool {
    for _ in 0..<checksMax {
        if condition() { return true }
        try Interruption.check()
        usleep(50_000)
    }
    return condition()
}
