import Cryptography
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
        let list = #"{"v":1,"organisation":true,"number":1,"iat":1,"revoked":[{"token":"#
            + #""\#(World.tokenID(1))","#
            + #""until":1,"x":1}]}"#
        #expect(reason { try read(.revocations, list) } == .unknownField)
    }

    @Test func everyFieldIsNeededOnceAndOfItsType() throws {
        for statement in samples {
            guard case .object(let members) = try JSONReader.read(
                [UInt8](try payload(statement).utf8))
            else { continue }
            for index in members.indices {
                let name = members[index].name
                // Absent, it leaves the server to public certificate authorities.
                let isOptional = name == "serverPin"
                var others = members
                others.remove(at: index)
                let missing = reason { try read(statement.kind, Self.text(others)) }
                #expect(missing == (isOptional ? nil : .missingField), "\(name)")
                let twice = reason {
                    try read(statement.kind, Self.text(members + [members[index]]))
                }
                #expect(twice == .duplicateField, "\(name)")
                for wrong in [JSONValue.object([]), .string("\u{7e} "), .array([.integer(1)])] {
                    var changed = members
                    changed[index] = .init(name: name, value: wrong)
                    let found = reason { try read(statement.kind, Self.text(changed)) }
                    #expect(found == .invalidField || found == .notJSON, "\(name)")
                }
            }
        }
    }

    @Test func anotherVersionIsRefused() throws {
        for statement in samples {
            let text = try payload(statement)
            #expect(text.hasPrefix(#"{"v":1,"#))
            for version in ["0", "2", "9007199254740991"] {
                let other = text.replacing(#"{"v":1"#, with: #"{"v":"# + version)
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
        #expect(reason { try read(.grant, text) } == .invalidField)
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
        for (realm, expected): (String, Refusal.Reason?) in [
            (#""organisation":true,"#, nil), (#""tenant":"acme","#, nil), ("", .missingField),
            (#""organisation":false,"#, .invalidField),
            (#""organisation":true,"tenant":"acme","#, .unknownField),
        ] {
            let text = #"{"v":1,\#(realm)"number":1,"iat":1,"revoked":[]}"#
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

    private static func text(_ members: [JSONValue.Member]) -> String {
        "{" + members.map { "\"\($0.name)\":\(text($0.value))" }.joined(separator: ",") + "}"
    }

    private static func text(_ value: JSONValue) -> String {
        switch value {
        case .object(let members): text(members)
        case .array(let values): "[" + values.map { text($0) }.joined(separator: ",") + "]"
        case .string(let string): "\"\(string)\""
        case .integer(let number): "\(number)"
        case .flag(let flag): flag ? "true" : "false"
        }
    }
}
