import ControlModel
import CoordinatorClient
import Logging
import WireGuardConfiguration

/// What the coordinator is told: which change is in force here.
extension NodeAgent {
    /// Gateways report at once, since others wait for them; the rest when it suits.
    func report() async {
        for await _ in reportsDue {
            if Task.isCancelled { return }
            let isGateway = view.own?.grant.role == .gateway
            let pause = isGateway
                ? Self.gatewayPauseMilliseconds
                : Int64(Self.random * Double(Self.lazyPauseMilliseconds))
            try? await Task.sleep(for: .milliseconds(pause))
            if Task.isCancelled { return }
            guard connectedSince != nil, appliedNumber != reportedNumber else { continue }
            let number = appliedNumber
            if await send(report: number) { reportedNumber = number } else { reportSoonAgain() }
        }
    }

    private func send(report number: Int64) async -> Bool {
        let counts = view.takeUnreportedRefusals()
        let lists = view.verifier.revocations
        let report = CoordinatorAPI.Report(
            appliedNumber: number,
            tenantRevocations: lists.list(of: .tenant(view.tenant))?.number ?? 0,
            organisationRevocations: lists.list(of: .organisation)?.number ?? 0,
            refusals: counts, endpoint: terms.endpoint, agentVersion: Release.version)
        do {
            try await client.call(.post, "/v1/self/report", body: report)
            return true
        } catch {
            log.debug("report: \(Self.words(for: error))")
            view.giveBack(counts)
            return false
        }
    }

    private func reportSoonAgain() {
        Task {
            try? await Task.sleep(for: .seconds(2))
            reportDue.yield()
        }
    }

    /// Gathers changes that come together.
    private static var gatewayPauseMilliseconds: Int64 { 10 }
    private static var lazyPauseMilliseconds: Int64 { 10_000 }
}
