import Glibc
import Synchronization

/// Ctrl-C and SIGTERM, turned into a failure at the next step so that what was done is undone.
enum Interruption {
    /// Starts to collect the signals.
    static func arm() {
        for number in [SIGINT, SIGTERM, SIGHUP] {
            // Storing to an atomic is all that the handler does, which signals permit.
            signal(number) { _ in interruptionIsPending.store(true, ordering: .relaxed) }
        }
    }

    /// - Throws: If a signal has come since the last call.
    static func check() throws {
        if interruptionIsPending.exchange(false, ordering: .relaxed) {
            throw Failure.failed("interrupted")
        }
    }
}

/// Set by the signal handler, which as a C function can only reach globals.
private let interruptionIsPending = Atomic(false)
