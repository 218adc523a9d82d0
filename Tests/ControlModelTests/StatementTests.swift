import Cryptography
import Foundation
import PacketFormats
import TestSupport
import Testing

@testable import ControlModel

struct StatementTests {
    private let world = World()

    private var samples: [Statement] {
        [
            .rollover(world.rollover), .admin(world.adminKey),
            .admin(changed(world.adminKey) { $0.tenants = .all }), .token(world.token),
            .token(changed(world.token) { $0.serverPin = nil; $0.needsApproval = true }),
            .grant(world.grant), .grant(world.joinGrant), .rotation(world.rotation),
            .revocations(world.list(3)),
            .revocations(
                world.list(
                    4, of: .tenant("acme"),
                    [
                        Revocation(.admin(world.admin.verifyingKey), until: 5),
                        Revocation(.token(World.tokenID(1)), until: 6),
                        Revocation(.node(world.node.verifyingKey), serial: 9, until: 7),
                        Revocation(.publicKey(World.publicKey(1)), until: 8),
                    ])),
        ]
    }

    private func payload(_ statement: Statement) throws -> String {
        let envelope = try Envelope(parsing: try statement.signed(by: world.root))
        return String(decoding: envelope.payload, as: UTF8.self)
    }

    private func read(_ kind: StatementKind, _ payload: String) throws -> Statement {
        try Statement(kind: kind, payload: [UInt8](payload.utf8))
    }

    @Test func everyKindRoundTrips() throws {
        #expect(Set(samples.map(\.kind)) == Set(StatementKind.allCases))
        for statement in samples {
            #expect(try read(statement.kind, try payload(statement)) == statement)
            // One statement, one text: signing again gives the same.
            #expect(try statement.signed(by: world.root) == statement.signed(by: world.root))
        }
    }

    /// An unknown field may be a restriction, so it is refused and not skipped.
    @Test func anUnknownFieldIsRefused() throws {
        for statement in samples {
            let text = try payload(statement)
            for field in [#""note":"x""#, #""deny":true"#, #""V":1"#, #""":0"#] {
                let more = text.dropLast() + "," + field + "}"
                #expect(reason { try read(statement.kind, String(more)) } == .unknownField)
            }
        }
        let list = #"{"iat":1,"number":1,"organisation":true,"revoked":[{"token":"#
            + #""\#(World.tokenID(1))","until":1}],"v":1}"#
        #expect(reason { try read(.revocations, list) } == nil)
        let more = list.replacing(#""until":1"#, with: #""until":1,"x":1"#)
        #expect(reason { try read(.revocations, more) } == .notCanonical)
    }

    @Test func everyFieldIsNeededOnceAndOfItsType() throws {
        for statement in samples {
            let text = try payload(statement)
            let members = try #require(
                try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
            #expect(try Self.text(members) == text)
            for (name, value) in members {
                // Absent, it leaves the server to public certificate authorities.
                let isOptional = name == "serverPin"
                let others = members.filter { $0.key != name }
                let missing = reason { try read(statement.kind, try Self.text(others)) }
                #expect(missing == (isOptional ? nil : .missingField), "\(name)")
                let again = try Self.text([name: value]).dropFirst()
                let twice = reason { try read(statement.kind, "\(text.dropLast()),\(again)") }
                #expect(twice == .notCanonical, "\(name)")
                for wrong: Any in [[String: Int](), "~ ", [1], NSNull()] {
                    let changed = members.merging([name: wrong]) { $1 }
                    let found = reason { try read(statement.kind, try Self.text(changed)) }
                    let isAbsent = wrong is NSNull && (found == .missingField || isOptional)
                    #expect(found != nil && (found == .invalidField || isAbsent), "\(name)")
                }
            }
        }
    }

    @Test func anotherVersionIsRefused() throws {
        for statement in samples {
            let text = try payload(statement)
            #expect(text.hasSuffix(#","v":1}"#))
            for version in ["0", "2", "9007199254740991"] {
                let other = text.replacing(#","v":1"#, with: #","v":"# + version)
                #expect(reason { try read(statement.kind, other) } == .wrongVersion)
            }
        }
    }

    /// The payload of one kind under the type of another.
    @Test func noKindPassesForAnother() throws {
        for statement in samples {
            for kind in StatementKind.allCases where kind != statement.kind {
                let found = reason { try read(kind, try payload(statement)) }
                #expect(found == .missingField || found == .unknownField, "\(kind)")
            }
        }
    }

    @Test func noTextSmugglesFieldsIn() {
        let token = changed(world.token) {
            $0.coordinator = #"https://hq.example","uses":1,"x":""#
        }
        #expect(reason { try Statement.token(token).signed(by: world.admin) } == .invalidField)
    }

    @Test(arguments: [
        "https://hq.example", "https://hq.example:8443/v1/", "https://[fd00::1]:8443",
        "https://10.0.0.1",
    ])
    func coordinatorAddressesAreAccepted(address: String) {
        let token = changed(world.token) { $0.coordinator = address }
        #expect(reason { try Statement.token(token).signed(by: world.admin) } == nil)
    }

    @Test(arguments: [
        "", "https://", "http://hq.example", "HTTPS://hq.example", "https:///x", "https://:8443",
        "https://hq.example@evil.example", "https://hq.example?x", "https://hq.example#x",
        "https://hq.example ", "https://hq.example\\x", "https://h\u{e9}.example", "file:///etc",
        "https://" + String(repeating: "a", count: 248),
    ])
    func otherAddressesAreRefused(address: String) {
        let token = changed(world.token) { $0.coordinator = address }
        #expect(reason { try Statement.token(token).signed(by: world.admin) } == .invalidField)
    }

    @Test func namesHaveOneSpelling() {
        for text in ["a", "0", "a-b", "a--b", String(repeating: "a", count: 63)] {
            #expect(Name(text)?.text == text)
        }
        for text in [
            "", "-", "-a", "a-", "A", "a_b", "a.b", "a b", "*", "é", "a\0", "../a",
            String(repeating: "a", count: 64),
        ] {
            #expect(Name(text) == nil, "\(text)")
        }
    }

    @Test(arguments: [
        #"["10.0.0.1/8"]"#, #"["10.0.0.1"]"#, #"["10.0.0.0/08"]"#, #"["010.0.0.0/8"]"#,
        #"["FD00::/16"]"#, #"["fd00:0::/16"]"#, #"["10.0.0.0/33"]"#, #"["0.0.0.0"]"#, #"[""]"#,
        #"["10.0.0.0/8","10.0.0.0/8"]"#, #"["10.1.0.0/16","10.0.0.0/16"]"#, #"[1]"#, #""x""#,
    ])
    func onlyCanonicalSetsOfNetworksAreRead(value: String) throws {
        let text = try payload(.grant(world.grant))
            .replacing(#""addresses":["10.64.0.2/32"]"#, with: #""addresses":\#(value)"#)
        let found = reason { try read(.grant, text) }
        #expect(found == .invalidField || found == .notCanonical)
    }

    @Test func setsAreBounded() {
        func routes(_ count: Int) -> Grant {
            changed(world.grant) { grant in
                grant.routes = Set((0..<count).map { index in
                    IPPrefix(IPAddress(ipv4: 0x0a00_0000 + UInt32(index)), length: 32)
                        .unsafelyUnwrapped
                })
            }
        }
        let limit = TrustLimits.routesMax
        #expect(reason { try Statement.grant(routes(limit)).signed(by: world.admin) } == nil)
        #expect(
            reason { try Statement.grant(routes(limit + 1)).signed(by: world.admin) }
                == .invalidField)
    }

    @Test func aScopeWithoutTenantsIsNotAll() throws {
        let empty = changed(world.adminKey) { $0.tenants = .only([]) }
        #expect(reason { try Statement.admin(empty).signed(by: world.root) } == .invalidField)
        let text = try payload(.admin(world.adminKey))
        let tenants = #""tenants":["acme","beta"]"#
        #expect(
            reason { try read(.admin, text.replacing(tenants, with: #""allTenants":false"#)) }
                == .invalidField)
        #expect(
            reason {
                try read(.admin, text.replacing(tenants, with: #""allTenants":true,"# + tenants))
            } == .unknownField)
    }

    @Test func aListWithoutATenantIsNotForAll() {
        let all = #""organisation":true,"#, none = #""organisation":false,"#
        let acme = #""tenant":"acme","#
        for (organisation, tenant, expected): (String, String, Refusal.Reason?) in [
            (all, "", nil), ("", acme, nil), ("", "", .missingField), (none, "", .invalidField),
            (all, acme, .unknownField), (none, acme, .invalidField),
        ] {
            let text = #"{"iat":1,"number":1,\#(organisation)"revoked":[],\#(tenant)"v":1}"#
            #expect(reason { try read(.revocations, text) } == expected)
        }
    }

    @Test func theLargestRevocationListFits() throws {
        let count = 12_000
        let revocations = (0..<count).map { index in
            var generator = SeededGenerator(seed: UInt64(index))
            let node = VerifyingKey(bytes: generator.bytes(32)).unsafelyUnwrapped
            return Revocation(.node(node), until: TrustLimits.timeMax)
        }
        let list = Statement.revocations(world.list(1, revocations))
        let text = try list.signed(by: world.root)
        let envelope = try Envelope(parsing: text)
        #expect(try Statement(kind: envelope.kind, payload: envelope.payload) == list)
    }

    private static func text(_ members: [String: Any]) throws -> String {
        String(
            decoding: try JSONSerialization.data(
                withJSONObject: members, options: [.sortedKeys, .withoutEscapingSlashes]),
            as: UTF8.self)
    }
}
