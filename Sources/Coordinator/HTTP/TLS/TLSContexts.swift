import ControlModel
import FoundationEssentials
import Logging
import NIOSSL
import Synchronization

/// The TLS context that new connections get; renewed while the server runs.
final class TLSContexts: Sendable {
    /// Of the key that it began with.
    let pin: ServerPin
    private let make: @Sendable () throws -> TLSIdentity
    private let state: Mutex<NIOSSLContext>
    private let log: Logger

    /// - Parameter make: Reads the certificate, or makes it anew when it is due.
    init(_ make: @escaping @Sendable () throws -> TLSIdentity, log: Logger) throws {
        self.make = make
        self.log = log
        let identity = try make()
        pin = identity.pin
        state = Mutex(try identity.makeContext())
    }

    var current: NIOSSLContext { state.withLock { $0 } }

    private static let renewalInterval = Duration.seconds(3600)

    /// Looks for a renewed certificate again and again, until cancelled.
    func run() async {
        while (try? await Task.sleep(for: Self.renewalInterval)) != nil {
            do {
                let context = try make().makeContext()
                state.withLock { $0 = context }
            } catch {
                log.warning("the certificate is kept, for its successor cannot be used: \(error)")
            }
        }
    }
}
