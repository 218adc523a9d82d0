import ControlModel
import Cryptography
import PacketFormats
import Testing

@testable import Coordinator

@Suite struct EnrolmentTests {
    @Test(arguments: Backend.available)
    func aTokenLetsOneNodeIn(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let token = try await world.token { $0.groups = ["plants"] }
            let node = try world.enrolment(token)
            let own = try await world.service.enrol(node.enrolment)
            #expect(own.state == .active && own.chain == node.chain.text && own.number == 1)
            #expect(own.network?.own == node.chain.text)
            let shown = try await world.service.node("acme", node.verifying, by: world.owner)
            #expect(shown.addresses == ["10.64.0.1/32", "fd00:64::1/128"])
            #expect(shown.groups == ["plants"] && shown.token(token))
            let record = try await world.service.tokens(
                "acme", by: world.owner, after: nil, limit: 5).items[0]
            #expect(record.state == .used && record.node == node.verifying.base64URL)
            // Another node, however it signs, is too late.
            #expect(await reason {
                try await world.service.enrol(try world.enrolment(token).enrolment)
            } == "token_used")
        }
    }

    @Test(arguments: Backend.available)
    func aLostAnswerCanBeAskedForAgain(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let node = try await world.node()
            let before = try await world.service.newestNumber("acme")
            world.clock.advance(2 * World.day)
            let again = try await world.service.enrol(node.enrolment)
            #expect(again.state == .active && again.network != nil)
            #expect(try await world.service.newestNumber("acme") == before)
            // Every gateway has the chain: without the secret it is not the node.
            var thief = node.enrolment
            thief.secretHash = Base64URL.encode(SHA256.hash("bln_thief"))
            world.clock.advance(-2 * World.day)
            #expect(await reason { try await world.service.enrol(thief) } == "token_used")
        }
    }

    @Test(arguments: Backend.available)
    func unknownTokensAreRefused(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let token = try world.signToken(["10.64.0.7/32"])
            let node = try world.enrolment(token)
            #expect(await reason { try await world.service.enrol(node.enrolment) }
                == "token_unknown")
            // A chain that does not hold is named for what it is.
            var forged = node.enrolment
            forged.chain = String(forged.chain.dropLast(4)) + "AAAA"
            #expect(await reason { try await world.service.enrol(forged) } == "signatureInvalid")
            forged.chain = "x~y~z"
            #expect(await reason { try await world.service.enrol(forged) } == "notCompact")
            forged.chain = "x"
            #expect(await reason { try await world.service.enrol(forged) } == "wrongType")
            forged.chain = ""
            #expect(await reason { try await world.service.enrol(forged) } == "wrongType")
        }
    }

    @Test(arguments: Backend.available)
    func grantsBeyondTheTokenAreRefused(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let token = try await world.token()
            func refusal(_ change: (inout Grant) -> Void) async throws -> String? {
                let node = try world.enrolment(token, change)
                return await reason { try await world.service.enrol(node.enrolment) }
            }
            #expect(try await refusal { $0.tenant = "beta" } == "mixedTenant")
            #expect(try await refusal { $0.role = .gateway } == "roleOutOfScope")
            #expect(try await refusal { $0.addresses = ["10.64.0.9/32"].prefixes }
                == "addressOutOfScope")
            #expect(try await refusal { $0.addresses = ["10.64.0.1/32"].prefixes }
                == "addressOutOfScope")
            #expect(try await refusal { $0.routes = ["0.0.0.0/0"].prefixes } == "routeOutOfScope")
            #expect(try await refusal { $0.groups = ["plants"] } == "groupOutOfScope")
            #expect(try await refusal { _ in } == nil)
        }
    }

    @Test(arguments: Backend.available)
    func keysAreOfOneNode(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let first = try await world.node()
            let copied = try world.enrolment(
                try await world.token(), publicKey: first.grant.publicKey)
            #expect(await reason { try await world.service.enrol(copied.enrolment) } == "keyInUse")
            let elsewhere = try world.enrolment(
                try await world.token(in: "beta"), publicKey: first.grant.publicKey)
            #expect(await reason { try await world.service.enrol(elsewhere.enrolment) }
                == "keyInUse")
            let same = try world.enrolment(try await world.token(), key: first.key)
            #expect(await reason { try await world.service.enrol(same.enrolment) }
                == "already_exists")
            let moved = try world.enrolment(try await world.token(in: "beta"), key: first.key)
            #expect(await reason { try await world.service.enrol(moved.enrolment) }
                == "mixedTenant")
            // A gateway may serve several tenants.
            let gateway = try await world.node(role: .gateway)
            let second = try world.enrolment(
                try await world.token(in: "beta", role: .gateway), key: gateway.key,
                publicKey: gateway.grant.publicKey)
            #expect(await reason { try await world.service.enrol(second.enrolment) } == nil)
            var stolen = try world.enrolment(try await world.token()).enrolment
            stolen.secretHash = first.enrolment.secretHash
            #expect(await reason { try await world.service.enrol(stolen) } == "invalid_request")
        }
    }

    @Test(arguments: Backend.available)
    func tokensEnd(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let token = try await world.token()
            let withdrawn = try await world.token()
            try await world.service.revokeToken("acme", withdrawn.claims.id, by: world.owner)
            let refused = try world.enrolment(withdrawn)
            #expect(await reason { try await world.service.enrol(refused.enrolment) }
                == "tokenRevoked")
            #expect(await reason {
                try await world.service.revokeToken("beta", token.claims.id, by: world.owner)
            } == "not_found")
            world.clock.advance(World.day + 120)
            let late = try world.enrolment(token) { grant in
                grant.validity = Validity(
                    from: World.start, until: World.start + 20 * World.day).unsafelyUnwrapped
                grant.serial = World.start
            }
            #expect(await reason { try await world.service.enrol(late.enrolment) } == "expired")
            world.clock.advance(600)
            try await world.service.maintain()
            let tenant = try await world.service.tenant("acme", by: world.owner)
            #expect(tenant.pools.map(\.allocated) == [0, 0])
            let states = try await world.service.tokens(
                "acme", by: world.owner, after: nil, limit: 5).items.map(\.state)
            #expect(Set(states) == [.expired, .revoked])
        }
    }

    @Test(arguments: Backend.available)
    func tokensAreExactlyWhatWasReserved(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let reservation = try await world.service.reserve("acme", .init(), by: world.owner)
            func add(
                _ addresses: [String], _ tenant: Name = "acme",
                _ change: (inout EnrolmentToken) -> Void = { _ in }
            ) async throws -> String? {
                let token = try world.signToken(addresses, change)
                return await reason {
                    try await world.service.addToken(
                        tenant, .init(reservation: reservation.id, chain: token.chain.text),
                        by: world.owner)
                }
            }
            #expect(try await add(["10.64.0.0/16"]) == "addressOutOfScope")
            #expect(try await add(["10.64.0.1/32"]) == "addressOutOfScope")
            #expect(try await add(reservation.addresses, "beta") == "mixedTenant")
            #expect(try await add(reservation.addresses) { $0.groups = ["nobody"] } == "not_found")
            #expect(try await add(reservation.addresses) == nil)
            // It is used.
            #expect(try await add(reservation.addresses) == "not_found")
            let late = try await world.service.reserve("acme", .init(), by: world.owner)
            world.clock.advance(600)
            let token = try world.signToken(late.addresses)
            #expect(await reason {
                try await world.service.addToken(
                    "acme", .init(reservation: late.id, chain: token.chain.text), by: world.owner)
            } == "not_found")
        }
    }

    @Test(arguments: Backend.available)
    func adminsThatNobodyRegisteredAreRefused(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let other = Key()
            let reservation = try await world.service.reserve("acme", .init(), by: world.owner)
            let token = try world.signToken(reservation.addresses)
            let chain = StatementChain([
                try world.adminLink { $0.key = other.verifying },
                try Statement.token(token.claims).signed(by: other.signing),
            ])
            #expect(await reason {
                try await world.service.addToken(
                    "acme", .init(reservation: reservation.id, chain: chain.text),
                    by: world.owner)
            } == "statement_refused")
        }
    }

    @Test(arguments: Backend.available)
    func aHundredNodesJoinAtOnce(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            // Tokens at once, too: no address is given out twice.
            let tokens = try await withThrowingTaskGroup(of: World.Token.self) { group in
                for _ in 0..<100 { group.addTask { try await world.token() } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(Set(tokens.flatMap { $0.claims.addresses }).count == 200)
            let numbers = try await withThrowingTaskGroup(of: Int64.self) { group in
                for token in tokens {
                    group.addTask {
                        try await world.service.enrol(try world.enrolment(token).enrolment).number
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(numbers.max() == 100)
            let tenant = try await world.service.tenant("acme", by: world.owner)
            #expect(tenant.nodeCount == 100 && tenant.pools.map(\.allocated) == [100, 100])
            let changes = try await world.service.changes("acme", after: 0, limit: 1_000)
            #expect(changes.map(\.number) == Array(1...100))
        }
    }

    @Test(arguments: Backend.available)
    func oneOfManyUsesAToken(over backend: Backend) async throws {
        try await withWorld(backend) { world in
            let token = try await world.token()
            let reasons = try await withThrowingTaskGroup(of: String?.self) { group in
                for _ in 0..<20 {
                    group.addTask {
                        let node = try world.enrolment(token)
                        return await reason { try await world.service.enrol(node.enrolment) }
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(reasons.filter { $0 == nil }.count == 1)
            #expect(reasons.compactMap(\.self).allSatisfy { $0 == "token_used" })
        }
    }
}

extension CoordinatorAPI.Node {
    fileprivate func token(_ token: World.Token) -> Bool {
        chain.hasPrefix(token.chain.text) && state == .active && isByHand == false
    }
}

extension [String] {
    var prefixes: Set<IPPrefix> { Set(compactMap { IPPrefix($0) }) }
}
