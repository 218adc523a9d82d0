import AccessControl
import ControlModel
import Cryptography
import PacketFormats
import Testing

@testable import NodeAgent

/// From grants and a policy to rules.
@Suite struct AccessBookTests {
    private let network = Network()
    private let policy = AccessPolicy(
        rules: [
            .init(
                name: "ask", from: ["plants"], to: ["models"], transport: "tcp",
                ports: ["443", "8000-8100"])
        ], tests: [], services: [.init(name: "models", destinations: ["10.9.0.0/24", "10.8.0.1"])])

    private func grant(
        _ number: UInt8, _ groups: String..., routes: [String] = []
    ) throws -> Grant {
        try network.grant(number) {
            $0.groups = Set(groups.compactMap { Name($0) })
            $0.routes = Set(routes.compactMap { IPPrefix($0) })
        }
    }

    @Test func withoutAPolicyNothingIsEnforced() throws {
        var book = AccessBook()
        book.note(try grant(1, "plants"), of: Network.node(1))
        book.note(nil)
        #expect(!book.isChanged)
        let rules = book.takeRules()
        #expect(rules == nil)
    }

    @Test func rulesHoldOverTheNetworksOfGrants() throws {
        var book = AccessBook()
        book.note(own: try grant(0, "hq", routes: ["10.9.0.0/16"]))
        book.note(try grant(1, "plants", "north"), of: Network.node(1))
        book.note(policy)
        #expect(book.isChanged)
        let taken = book.takeRules()
        let rules = try #require(taken)
        #expect(!book.isChanged)
        #expect(Set(rules.members.map(\.prefix.description))
            == ["10.64.0.0/32", "10.9.0.0/16", "10.64.0.1/32"])
        #expect(rules.members.last?.groups == ["plants", "north"])
        #expect(rules.services == [
            .init(name: "models", destinations: ["10.9.0.0/24", "10.8.0.1/32"].map {
                IPPrefix($0).unsafelyUnwrapped
            })
        ])
        #expect(rules.rules == [
            .init(
                name: "ask", from: ["plants"], to: ["models"], transport: .tcp,
                ports: [443...443, 8_000...8_100])
        ])
    }

    @Test func onlyChangesMakeNewRules() throws {
        var book = AccessBook()
        book.note(policy)
        book.note(try grant(1, "plants"), of: Network.node(1))
        book.note(own: try grant(0))
        _ = book.takeRules()
        book.note(policy)
        book.note(try grant(1, "plants"), of: Network.node(1))
        book.note(own: try grant(0))
        book.note(nil, of: Network.node(2))
        #expect(!book.isChanged)
        book.note(try grant(1, "offices"), of: Network.node(1))
        #expect(book.isChanged)
        let moved = book.takeRules()
        #expect(moved?.members.last?.groups == ["offices"])
        book.giveBack()
        #expect(book.isChanged, "they did not come into force")
        _ = book.takeRules()
        book.note(nil, of: Network.node(1))
        #expect(book.isChanged)
        let alone = book.takeRules()
        #expect(alone?.members.count == 1)
        book.note(nil)
        #expect(book.isChanged)
        let none = book.takeRules()
        #expect(none == nil)
    }

    /// Or a default-deny policy would make every gateway look dead to those who ask it.
    @Test func gatewaysAnswerPingsUnderEveryPolicy() throws {
        var book = AccessBook()
        book.note(own: try grant(0, "plants"))
        let gateway = try network.grant(1, role: .gateway) {
            $0.routes = [IPPrefix("10.9.0.0/16").unsafelyUnwrapped]
        }
        book.note(gateway, of: Network.node(1))
        book.note(AccessPolicy(rules: [], tests: []))
        let taken = book.takeRules()
        let filter = AccessFilter(
            try #require(taken), state: AccessState(capacity: 0, key: (0, 0), now: 0))
        func allows(_ from: String, _ to: String, _ transport: AccessRules.Transport) -> Bool {
            filter.decide(
                from: .address(IPAddress(from).unsafelyUnwrapped),
                to: .address(IPAddress(to).unsafelyUnwrapped), transport, port: 443
            ).isAllowed
        }
        #expect(allows("10.64.0.0", "10.64.0.1", .icmp))
        #expect(!allows("10.64.0.0", "10.64.0.1", .tcp))
        #expect(!allows("10.64.0.0", "10.9.0.1", .icmp), "not what is behind it")
        #expect(!allows("10.64.0.1", "10.64.0.0", .icmp), "not the other way")
    }

    /// A coordinator may send anything; what makes no sense lets nothing through.
    @Test func whatIsNotUnderstoodAllowsNothing() {
        func rule(_ transport: String, _ ports: [String]) -> AccessPolicy.Rule {
            .init(name: "r", from: ["*"], to: ["*"], transport: transport, ports: ports)
        }
        let odd = AccessPolicy(
            rules: [
                rule("sctp", []), rule("tcp", ["x"]), rule("tcp", ["0"]), rule("tcp", ["9-8"]),
                rule("udp", ["53"]),
            ], tests: [], services: [.init(name: "s", destinations: ["nowhere", "10.0.0.0/8"])])
        let rules = AccessRules(policy: odd, members: [])
        #expect(rules.rules.map(\.transport) == [.udp])
        #expect(rules.services.map(\.destinations.count) == [1])
        let many = AccessPolicy(
            rules: Array(repeating: rule("tcp", []), count: PolicyLimits.rulesMax + 1), tests: [])
        #expect(AccessRules(policy: many, members: []).rules.count == PolicyLimits.rulesMax)
    }

    /// The coordinator's own evaluation of tests and the compiled rules agree.
    @Test(arguments: [
        ("plants", "models", "tcp", 443), ("plants", "models", "tcp", 444),
        ("plants", "hq", "tcp", 443), ("hq", "models", "tcp", 443), ("x", "y", "udp", 53),
    ] as [(String, String, String, UInt16)])
    func compiledRulesAnswerAsThePolicy(
        from: String, to: String, transport: String, port: UInt16
    ) {
        let filter = AccessFilter(
            AccessRules(policy: policy, members: []),
            state: AccessState(capacity: 0, key: (0, 0), now: 0))
        let destination: AccessSide = to == "models" ? .service(to) : .groups([to])
        let decision = filter.decide(
            from: .groups([from]), to: destination, transport == "tcp" ? .tcp : .udp, port: port)
        #expect(decision.isAllowed
            == policy.allows(from: [from], to: [to], transport: transport, port: port))
    }
}
