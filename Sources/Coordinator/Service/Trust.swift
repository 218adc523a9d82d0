import ControlModel
import Cryptography
import Synchronization

/// What the coordinator believes at one moment, for one tenant or the organisation alone.
struct Trust: Sendable {
    /// Which state of the tables this is of.
    struct Stamp: Hashable, Sendable {
        /// Grows with every admin, rollover and revocation list of the organisation.
        var organisation: Int64
        /// Number of the tenant's revocation list.
        var tenant: Int64
    }

    let tenant: Name?
    let stamp: Stamp
    let verifier: Verifier

    /// - Throws: `TrustMoved` where the tables are of another state by now.
    func confirm(_ transaction: Transaction) throws {
        guard try Trust.stamp(tenant, transaction.connection) == stamp else { throw TrustMoved() }
    }

    /// - Throws: `not_set_up`.
    static func stamp(_ tenant: Name?, _ connection: any StorageConnection) throws -> Stamp {
        let rows = try connection.rows(
            """
            SELECT trust_revision,
                (SELECT number FROM revocation_lists WHERE realm = ?) FROM organisation
            """, [.text(tenant?.text ?? "-")])
        guard let row = rows.first else { throw CoordinatorAPI.Problem.notSetUp() }
        return Stamp(
            organisation: try row.integer(0), tenant: try row.integerOrNil(1) ?? 0)
    }

    fileprivate static func load(
        _ tenant: Name?, stamp: Stamp, _ connection: any StorageConnection
    ) throws -> Trust {
        let rows = try connection.rows(
            "SELECT key, successor, retires_at FROM anchors ORDER BY position", [])
        let anchors = try rows.compactMap { row -> RootAnchors.Anchor? in
            guard let key = VerifyingKey(base64URL: try row.text(0)) else { return nil }
            return RootAnchors.Anchor(
                key: key, successor: try row.textOrNil(1).flatMap { VerifyingKey(base64URL: $0) },
                retiresAt: try row.integerOrNil(2))
        }
        guard let anchors = RootAnchors(restoring: anchors) else {
            throw CoordinatorAPI.Problem.internal("the organisation has no root")
        }
        var revocations = Revocations()
        for realm in ["", tenant?.text].compactMap(\.self) {
            guard let chain = try RevocationTable.chain(realm, connection),
                let text = StatementChain.lastLink(of: chain)
            else { continue }
            try refusing { () throws(Refusal) in try revocations.restore(text) }
        }
        return Trust(
            tenant: tenant, stamp: stamp,
            verifier: Verifier(anchors: anchors, revocations: revocations))
    }
}

/// A list, an admin or a root came in between: what was verified must be verified again.
struct TrustMoved: Error {}

/// Verifiers, so that large lists are read once.
final class TrustCache: Sendable {
    private let held = Mutex<[String: Trust]>([:])

    /// - Throws: `not_set_up`.
    func trust(of tenant: Name?, _ connection: any StorageConnection) throws -> Trust {
        let stamp = try Trust.stamp(tenant, connection)
        let key = tenant?.text ?? ""
        if let trust = held.withLock({ $0[key] }), trust.stamp == stamp { return trust }
        let trust = try Trust.load(tenant, stamp: stamp, connection)
        held.withLock { held in
            if held.count >= ServiceLimits.verifiersMax { held.removeAll() }
            held[key] = trust
        }
        return trust
    }
}

/// Runs `body`, whose refusals come out as problems.
func refusing<Value>(_ body: () throws(Refusal) -> Value) throws -> Value {
    do {
        return try body()
    } catch {
        throw CoordinatorAPI.Problem.refused(error)
    }
}

extension CoordinatorService {
    func trust(of tenant: Name?) async throws -> Trust {
        try await storage.read { [trusts] in try trusts.trust(of: tenant, $0) }
    }

    /// Repeats what verifies first and writes then, where what it verified against has changed.
    func withTrust<Value>(
        of tenant: Name?, _ body: (Trust) async throws -> Value
    ) async throws -> Value {
        for _ in 0..<Self.trustAttempts {
            do {
                return try await body(try await trust(of: tenant))
            } catch is TrustMoved {}
        }
        throw CoordinatorAPI.Problem.storageUnavailable(
            "revocations keep changing: try again in a moment")
    }

    func write<Value: Sendable>(
        as actor: String, _ body: @escaping @Sendable (Transaction) throws -> Value
    ) async throws -> Value {
        let now = now()
        return try await storage.write { connection in
            try body(Transaction(connection: connection, now: now, actor: actor))
        }
    }

    private static let trustAttempts = 5
}
