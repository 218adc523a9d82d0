import Cryptography
import PacketFormats
import TestSupport
import Testing

@testable import ControlModel

/// What an attacker with everything but the keys can make of valid statements.
struct AttackTests {
    private let world = World()
    private static let seeds: [UInt64] = [1, 2, 3, 4]

    /// Valid chains of every shape.
    private func chains() throws -> [StatementChain] {
        [
            try world.grantChain(), try world.joinChain(), try world.rotationChain(),
            try world.joinChain().appending(
                try Statement.rotation(world.rotation).signed(by: world.node)),
        ]
    }

    private func verify(_ chain: StatementChain) -> Refusal.Reason? {
        reason { try world.verifier.verifyGrant(chain, at: World.now) }
    }

    @Test func theChainsAreValid() throws {
        for chain in try chains() { #expect(verify(chain) == nil) }
    }

    /// In every byte; the text has one spelling, so none of them may be accepted.
    @Test func everyFlippedByteOfAChainIsRefused() throws {
        for chain in [try chains()[0], try chains()[3]] {
            for (index, link) in chain.links.enumerated() {
                let bytes = Array(link.utf8)
                for offset in bytes.indices {
                    // One bit each; over a link every bit of a byte has its turn.
                    var changed = bytes
                    changed[offset] ^= 1 << (offset % 8)
                    var links = chain.links
                    links[index] = String(decoding: changed, as: UTF8.self)
                    let found = verify(StatementChain(links))
                    #expect(found != nil, "link \(index), byte \(offset)")
                }
            }
        }
    }

    /// Bytes of the decoded parts, spelt properly again: only the signature can tell.
    @Test func everyFlippedByteOfAPayloadIsRefused() throws {
        let chain = try world.joinChain()
        for (index, link) in chain.links.enumerated() {
            let parts = link.split(separator: ".").map(String.init)
            for part in 0..<3 {
                let bytes = try #require(Base64URL.decode(parts[part]))
                for offset in bytes.indices {
                    var changed = bytes, links = chain.links, texts = parts
                    changed[offset] ^= 1 << (offset % 8)
                    texts[part] = Base64URL.encode(changed)
                    links[index] = texts.joined(separator: ".")
                    let found = verify(StatementChain(links))
                    if part > 0 {
                        #expect(found == .signatureInvalid, "link \(index), byte \(offset)")
                    } else {
                        #expect(found != nil, "link \(index), byte \(offset)")
                    }
                }
            }
        }
    }

    @Test func everyTruncatedChainIsRefused() throws {
        for chain in try chains() {
            for index in chain.links.indices {
                let link = chain.links[index]
                for count in 0..<link.count {
                    var links = Array(chain.links[...index])
                    links[index] = String(link.prefix(count))
                    #expect(verify(StatementChain(links)) != nil)
                }
            }
            // Whole links off the front leave a chain that hangs in the air.
            for count in 1..<chain.links.count {
                let found = verify(StatementChain(Array(chain.links.dropFirst(count))))
                #expect(found == .unknownIssuer)
            }
        }
    }

    @Test func everyOtherOrderIsRefused() throws {
        for chain in try chains() {
            for order in permutations(of: Array(chain.links.indices))
            where order != Array(chain.links.indices) {
                #expect(verify(StatementChain(order.map { chain.links[$0] })) != nil, "\(order)")
            }
        }
    }

    /// Links of an organisation with the same names, and of another tenant's admin.
    @Test func splicedChainsAreRefused() throws {
        let beta = World.key(31), betaKey = World.key(32), other = World.key(33)
        let betaAdmin = changed(world.adminKey) {
            $0.key = beta.verifyingKey
            $0.tenants = .only(["beta"])
        }
        let betaToken = changed(world.token) {
            $0.id = World.tokenID(32)
            $0.key = betaKey.verifyingKey
            $0.tenant = "beta"
        }
        let betaGrant = changed(world.joinGrant) {
            $0.token = World.tokenID(32)
            $0.tenant = "beta"
            $0.node = other.verifyingKey
        }
        let acme = try world.joinChain().links
        let betas = [
            try Statement.admin(betaAdmin).signed(by: world.root),
            try Statement.token(betaToken).signed(by: beta),
            try Statement.grant(betaGrant).signed(by: betaKey),
        ]
        #expect(verify(StatementChain(betas)) == nil)
        for mask in 1..<7 {
            let mixed = (0..<3).map { mask >> $0 & 1 == 0 ? acme[$0] : betas[$0] }
            let found = verify(StatementChain(mixed))
            #expect(found == .unknownIssuer, "\(mask)")
        }
        // A token's key signs what the other tenant's node wants, with both its names.
        let mixed = changed(betaGrant) { $0.token = World.tokenID(5) }
        let chain = try world.tokenChain().appending(
            try Statement.grant(mixed).signed(by: world.delegated))
        #expect(verify(chain) == .mixedTenant)
        // An admin of beta signs for acme.
        let stolen = StatementChain([
            betas[0], try Statement.grant(world.grant).signed(by: beta),
        ])
        #expect(verify(stolen) == .tenantOutOfScope)
    }

    /// A taken-over coordinator with keys of its own, in every place.
    @Test func forgedLinksAreRefused() throws {
        let statements: [Statement] = [
            .admin(world.adminKey), .token(world.token), .grant(world.joinGrant),
            .rotation(world.rotation),
        ]
        let chain = try chains()[3]
        for (index, statement) in statements.enumerated() {
            var links = chain.links
            links[index] = try statement.signed(by: world.stranger)
            #expect(verify(StatementChain(links)) == .unknownIssuer)
            // With the right key's name and the wrong key's signature.
            let forged = try Envelope(parsing: links[index])
            let honest = chain.links[index].split(separator: ".")
            links[index] = "\(honest[0]).\(Base64URL.encode(forged.payload))."
                + Base64URL.encode(forged.signature.bytes)
            #expect(verify(StatementChain(links)) == .signatureInvalid)
        }
        // A whole organisation of its own.
        let own = StatementChain([
            try Statement.admin(world.adminKey).signed(by: world.stranger),
            try world.grantChain().links[1],
        ])
        #expect(verify(own) == .unknownIssuer)
    }

    /// Fields of a signed payload, rewritten to more than was signed.
    @Test func rescopedPayloadsAreRefused() throws {
        let chain = try world.joinChain()
        for (index, from, to) in [
            (0, #""tenants":["acme","beta"]"#, #""allTenants":true"#),
            (0, #""mayRevoke":true"#, #""mayRevoke":false"#),
            (0, #""class":"activation""#, #""class":"token""#),
            (1, #""role":"branch""#, #""role":"gateway""#), (1, #""uses":1"#, #""uses":2"#),
            (1, #""tenant":"acme""#, #""tenant":"beta""#),
            (1, "https://hq.example:8443", "https://evil.example"),
            (2, "10.64.0.2/32", "10.64.0.0/24"), (2, #""class":"prompt""#, #""class":"bulk""#),
        ] {
            let parts = chain.links[index].split(separator: ".").map(String.init)
            let payload = String(
                decoding: try #require(Base64URL.decode(parts[1])), as: UTF8.self)
            let changed = payload.replacing(from, with: to)
            #expect(changed != payload, "\(from)")
            var links = chain.links
            links[index] = "\(parts[0]).\(Base64URL.encode([UInt8](changed.utf8))).\(parts[2])"
            #expect(verify(StatementChain(links)) == .signatureInvalid, "\(from)")
        }
    }

    /// Whatever admins and tokens are limited to, no accepted grant is wider; whatever is within
    /// them is accepted. The model is a plain list of the conditions.
    @Test(arguments: seeds)
    func acceptedGrantsAreExactlyThoseWithinTheirIssuers(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var accepted = 0
        for round in 0..<400 {
            let admin = randomAdmin(&generator), token = randomToken(&generator)
            let grant = randomGrant(&generator), isJoin = Bool.random(using: &generator)
            let adminLink = try Statement.admin(admin).signed(by: world.root)
            var chain = StatementChain([adminLink])
            if isJoin {
                chain = chain.appending(try Statement.token(token).signed(by: world.admin))
                    .appending(
                        try Statement.grant(changed(grant) { $0.token = token.id })
                            .signed(by: world.delegated))
            } else {
                chain = chain.appending(try Statement.grant(grant).signed(by: world.admin))
            }
            let now = World.now + Int64.random(in: -4...4, using: &generator) * 500
            var isWithin = isInTime(admin.validity, now) && isInTime(grant.validity, now)
                && admin.tenants.includes(grant.tenant) && admin.roles.contains(grant.role)
                && admin.profiles.contains(grant.profile)
                && rank(grant.ceiling) >= rank(admin.ceiling)
                && grant.validity.seconds <= admin.grantSeconds
                && grant.serial <= grant.validity.from
            if isJoin {
                isWithin = isWithin && grant.tenant == token.tenant && grant.role == token.role
                    && token.profiles.contains(grant.profile)
                    && token.profiles.isSubset(of: admin.profiles)
                    && rank(grant.ceiling) >= rank(token.ceiling)
                    && rank(token.ceiling) >= rank(admin.ceiling)
                    && token.grantSeconds <= admin.grantSeconds
                    && grant.validity.seconds <= token.grantSeconds
                    && now >= token.validity.from - TrustLimits.skewSecondsDefault
                    && grant.validity.from >= token.validity.from
                    && grant.validity.from < token.validity.until
            }
            let found = reason { try world.verifier.verifyGrant(chain, at: now) }
            let name = found?.rawValue ?? "accepted"
            #expect((found == nil) == isWithin, "seed \(seed), round \(round): \(name)")
            accepted += isWithin ? 1 : 0
        }
        #expect(accepted > 5, "seed \(seed)")
    }

    /// Random bytes, random edits of valid texts: refused by name, never a trap.
    @Test(arguments: seeds)
    func mangledTextIsRefused(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let valid = try chains()
        for round in 0..<3000 {
            let chain = valid[Int.random(in: 0..<valid.count, using: &generator)]
            var bytes = Array(chain.text.utf8)
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let at = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes.remove(at: at)
                case 2: bytes.insert(bytes[at], at: at)
                default: bytes = Array(bytes[at...] + bytes[..<at])
                }
            }
            let text = String(decoding: bytes, as: UTF8.self)
            guard text != chain.text else { continue }
            let found = reason {
                try world.verifier.verifyGrant(StatementChain(parsing: text), at: World.now)
            }
            // Repeated edits can only lead back to a valid chain by cutting it short.
            let isPrefix = valid.contains { $0.text == text }
            #expect(found != nil || isPrefix, "seed \(seed), round \(round)")
        }
    }

    private func randomAdmin(_ generator: inout SeededGenerator) -> AdminKey {
        changed(world.adminKey) {
            $0.tenants = generator.chance(percent: 30) ? .all : .only(
                generator.chance(percent: 70) ? ["acme"] : ["beta"])
            $0.roles = Set(Role.allCases.filter { _ in generator.chance(percent: 80) })
            $0.profiles = Set(TunnelProfile.allCases.filter { _ in generator.chance(percent: 80) })
            $0.ceiling = generator.pick(ClassCeiling.allCases)
            $0.grantSeconds = generator.pick([3600, 7200, 100_000])
            let from: Int64 = generator.pick([-100, -5000])
            $0.validity = World.validity(from, generator.pick([100, 1000, 100_000]))
        }
    }

    private func randomToken(_ generator: inout SeededGenerator) -> EnrolmentToken {
        changed(world.token) {
            $0.tenant = generator.chance(percent: 80) ? "acme" : "beta"
            $0.role = generator.chance(percent: 80) ? .branch : .gateway
            $0.profiles = generator.chance(percent: 80) ? [.wireguard] : [.branchlineAES]
            $0.ceiling = generator.pick(ClassCeiling.allCases)
            $0.grantSeconds = generator.pick([3600, 7200])
            let from: Int64 = generator.pick([-50, -3000])
            $0.validity = World.validity(from, generator.pick([100, 1000]))
        }
    }

    private func randomGrant(_ generator: inout SeededGenerator) -> Grant {
        changed(world.grant) {
            $0.tenant = generator.chance(percent: 80) ? "acme" : "beta"
            $0.role = generator.chance(percent: 80) ? .branch : .gateway
            $0.profile = generator.chance(percent: 80) ? .wireguard : .branchlineAES
            $0.ceiling = generator.pick(ClassCeiling.allCases)
            let from: Int64 = generator.pick([-50, -2000])
            $0.validity = World.validity(from, from + generator.pick([2000, 3600, 7200]))
            $0.serial = $0.validity.from + generator.pick([-1, 0, 0, 0, 1])
        }
    }

    private func isInTime(_ validity: Validity, _ now: Int64) -> Bool {
        let skew = TrustLimits.skewSecondsDefault
        return validity.from - skew <= now && now < validity.until + skew
    }

    private func rank(_ ceiling: ClassCeiling) -> Int {
        ClassCeiling.allCases.firstIndex(of: ceiling).unsafelyUnwrapped
    }

    private func permutations(of items: [Int]) -> [[Int]] {
        guard items.count > 1 else { return [items] }
        return items.flatMap { first in
            permutations(of: items.filter { $0 != first }).map { [first] + $0 }
        }
    }
}

extension SeededGenerator {
    fileprivate mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int.random(in: 0..<elements.count, using: &self)]
    }
}
