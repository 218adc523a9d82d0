import ControlModel
import CoordinatorClient
import Cryptography
import Logging

/// The stream of changes, for as long as the agent lives.
extension NodeAgent {
    func watch() async {
        var backoff = Backoff()
        while !Task.isCancelled {
            let began = Self.now
            do {
                try await watchOnce()
                noteDisconnected("the coordinator ended the stream")
            } catch is CancellationError {
                return
            } catch {
                noteDisconnected(Self.words(for: error))
                await askForOwnState()
            }
            // One that answers and hangs up at once is not well.
            if Self.now - began >= Self.steadySeconds || wantsWholeState { backoff.reset() }
            var milliseconds = backoff.next(random: Self.random)
            if view.standing == .pending {
                milliseconds = min(milliseconds, Self.pendingMilliseconds)
            }
            try? await Task.sleep(for: .milliseconds(milliseconds))
        }
    }

    private func watchOnce() async throws {
        let isWhole = wantsWholeState || view.number == 0
        wantsWholeState = false
        let query = isWhole ? [] : [("since", String(view.number))]
        var unreadable = 0
        for try await line in try await client.lines("/v1/self/watch", query: query) {
            try Task.checkCancellation()
            if line.isEmpty { continue }
            guard let event = try? APIJSON.decode(CoordinatorAPI.WatchEvent.self, from: line)
            else {
                view.noteUnreadable("\(line.count) bytes", at: Self.now)
                flushSoon()
                unreadable += 1
                guard unreadable < Self.unreadableMax else {
                    throw ClientFault.notACoordinator("it sends lines that are no events")
                }
                continue
            }
            if connectedSince == nil { noteConnected() }
            guard take(event) else { return }
        }
    }

    /// - Returns: Whether to go on with this stream.
    private func take(_ event: CoordinatorAPI.WatchEvent) -> Bool {
        let now = Self.now, wasActive = view.standing == .active
        switch event.kind {
        case .state:
            guard let state = event.state else { break }
            view.replace(with: state, number: event.number, at: now)
        case .change:
            guard let change = event.change else { break }
            view.apply(change, number: event.number, at: now)
        case .heartbeat:
            guard event.number > view.number else { return true }
            view.noteNumber(event.number)
        case .bye: return false
        }
        noteChange()
        // Whoever was not active was not told everything.
        if !wasActive, view.standing == .active, event.kind != .state {
            wantsWholeState = true
            return false
        }
        return true
    }

    /// A node that waits for approval, or is suspended, may get no stream.
    private func askForOwnState() async {
        guard view.standing != .active, !Task.isCancelled else { return }
        do {
            let own: CoordinatorAPI.OwnState = try await client.call(.get, "/v1/self").answer
            view.take(own: own.chain, at: Self.now)
            noteChange()
            if view.standing == .active { wantsWholeState = true }
        } catch {
            log.debug("no state of its own: \(Self.words(for: error))")
        }
    }

    private func noteConnected() {
        connectedSince = Self.now
        connectionFault = nil
        // It may have begun anew, and others wait until it knows.
        reportedNumber = nil
        reportDue.yield()
        log.info("connected to \(terms.coordinator)")
        flushSoon()
    }

    private func noteDisconnected(_ reason: String) {
        if connectionFault != reason { log.info("\(terms.coordinator): \(reason)") }
        connectedSince = nil
        connectionFault = reason
        flushSoon()
    }

    static func words(for error: any Error) -> String {
        if let problem = error as? CoordinatorAPI.Problem {
            return "\(problem.reason): \(problem.detail)"
        }
        return "\(error)"
    }

    /// 0 to 1.
    static var random: Double { Double(SecureRandom.uint32()) / Double(UInt32.max) }

    private static var steadySeconds: Int64 { 10 }
    private static var pendingMilliseconds: Int64 { 3_000 }
    private static var unreadableMax: Int { 100 }
}
