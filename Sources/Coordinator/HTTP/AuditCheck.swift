import ControlModel
public import Logging

/// Goes through the whole audit log of a database.
public enum AuditCheck {
    /// - Returns: How many entries follow one another.
    /// - Throws: A `CoordinatorAPI.Problem` where one was changed or is missing.
    public static func run(_ storage: any Storage, log: Logger) async throws -> Int64 {
        let service = try await CoordinatorService(
            storage: storage, now: { 0 }, setupCodeHash: { nil }, log: log)
        let reader = Principal(actor: "coordinator", role: .auditor, tenant: nil)
        var chain = AuditChain()
        while true {
            let page = try await service.audit(
                by: reader, after: chain.count, limit: 1000, tenant: nil)
            for entry in page.items {
                do {
                    try chain.accept(entry)
                } catch {
                    throw CoordinatorAPI.Problem.internal("the audit log: \(error.description)")
                }
            }
            guard page.next != nil else { return chain.count }
        }
    }
}
