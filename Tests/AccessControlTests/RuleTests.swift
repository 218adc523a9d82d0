import AccessControl
import PacketFormats
import TestSupport
import Testing

/// What the rules say of packets that begin something.
@Suite struct RuleTests {
    @Test func aGroupReachesTheServicesPorts() {
        let net = Net()
        for port: UInt16 in [443, 8_000, 8_050, 8_100] {
            #expect(net.passes(Packets.tcp(Net.plant, Net.model, 40_000, port)))
        }
        for port: UInt16 in [442, 444, 7_999, 8_101, 0, 65_535] {
            #expect(net.judge(Packets.tcp(Net.plant, Net.model, 40_000, port)) == .denied(rule: 0))
        }
        #expect(!net.passes(Packets.udp(Net.plant, Net.model, 40_000, 443)))
    }

    @Test func itReachesThemInIPv6() {
        let net = Net()
        #expect(net.passes(Packets.tcp(Net.plant6, Net.model6, 40_000, 443)))
        #expect(!net.passes(Packets.tcp(Net.plant6, Net.model6, 40_000, 444)))
        #expect(!net.passes(Packets.tcp(Net.plant6, "fd00:9:0:1::5", 40_000, 443)))
    }

    @Test func anAddressBesideTheServiceIsDenied() {
        let net = Net()
        #expect(net.judge(Packets.tcp(Net.plant, Net.printer, 40_000, 443)) == .denied(rule: 1))
    }

    @Test func whatNoRuleSpeaksOfIsDeniedByDefault() {
        let net = Net()
        for (from, to) in [
            (Net.plant, Net.office), (Net.office, Net.plant), (Net.model, Net.plant),
            (Net.headquarters, Net.plant),
        ] {
            let verdict = net.judge(Packets.tcp(from, to, 40_000, 443))
            #expect(verdict == .denied(rule: AccessFilter.defaultDeny))
        }
    }

    @Test(arguments: ["192.0.2.1", "224.0.0.1", "255.255.255.255", "10.64.0.255", "0.0.0.0"])
    func strangersNeitherSendNorReceive(stranger: String) {
        let everything = AccessRules(
            members: Net.members, services: [], rules: [Net.rule("all", ["*"], ["*"], nil, [])])
        let net = Net(everything)
        #expect(net.passes(Packets.udp(Net.plant, Net.office, 1, 1)))
        #expect(!net.passes(Packets.udp(Net.plant, stranger, 1, 1)))
        #expect(!net.passes(Packets.udp(stranger, Net.plant, 1, 1)))
    }

    @Test func aRuleForEveryTransportTakesAnyProtocol() {
        let net = Net()
        var packet = Packets.udp(Net.office, Net.headquarters, 1, 1)
        for number: UInt8 in [0, 1, 6, 17, 47, 50, 132, 255] {
            packet[9] = number
            if number == 6 { packet = Packets.tcp(Net.office, Net.headquarters, 1, 1) }
            #expect(net.passes(packet), "protocol \(number)")
        }
        packet = Packets.udp(Net.plant, Net.headquarters, 1, 53)
        #expect(net.passes(packet))
        packet[9] = 47
        #expect(!net.passes(packet))
    }

    @Test func theInnermostNetworkTellsTheGroups() {
        let rules = AccessRules(
            members: [
                Net.member("10.0.0.0/8", "wide"), Net.member("10.1.0.0/16", "narrow"),
                Net.member("10.2.0.1/32", "asks"),
            ], services: [],
            rules: [
                Net.rule("wide", ["asks"], ["wide"], .tcp, []),
                Net.rule("narrow", ["asks"], ["narrow"], .udp, []),
            ])
        let net = Net(rules)
        #expect(net.passes(Packets.tcp("10.2.0.1", "10.3.0.1", 1, 1)))
        #expect(!net.passes(Packets.udp("10.2.0.1", "10.3.0.1", 1, 1)))
        #expect(!net.passes(Packets.tcp("10.2.0.1", "10.1.255.255", 1, 1)))
        #expect(net.passes(Packets.udp("10.2.0.1", "10.1.255.255", 1, 1)))
    }

    @Test func anAddressOfTwoServicesIsInBoth() {
        let prefix = IPPrefix("10.9.0.5/32")!
        let rules = AccessRules(
            members: Net.members,
            services: Net.services + [.init(name: "one", destinations: [prefix])],
            rules: [
                Net.rule("models", ["plants"], ["models"], .tcp, [443...443]),
                Net.rule("one", ["plants"], ["one"], .tcp, [22...22]),
            ])
        let net = Net(rules)
        #expect(net.passes(Packets.tcp(Net.plant, "10.9.0.5", 1, 443)))
        #expect(net.passes(Packets.tcp(Net.plant, "10.9.0.5", 1, 22)))
        #expect(!net.passes(Packets.tcp(Net.plant, "10.9.0.6", 1, 22)))
    }

    @Test func aSharedNetworkHasTheRightsThatAllItsNodesHave() {
        let rules = AccessRules(
            members: [
                Net.member("10.9.0.0/16", "hq", "first"), Net.member("10.9.0.0/16", "hq", "second"),
                Net.member("10.64.0.2/32", "plants"),
            ], services: [],
            rules: [
                Net.rule("hq", ["plants"], ["hq"], .tcp, []),
                Net.rule("first", ["plants"], ["first"], .udp, []),
            ])
        let net = Net(rules)
        #expect(net.passes(Packets.tcp(Net.plant, Net.model, 1, 1)))
        #expect(!net.passes(Packets.udp(Net.plant, Net.model, 1, 1)))
    }

    @Test func noRulesDenyEverything() {
        let net = Net(AccessRules(members: Net.members, services: [], rules: []))
        #expect(net.judge(Packets.tcp(Net.plant, Net.model, 1, 443)) == .denied(rule: -1))
        let empty = Net(AccessRules(members: [], services: [], rules: []))
        #expect(empty.judge(Packets.tcp(Net.plant6, Net.model6, 1, 443)) == .denied(rule: -1))
    }

    @Test func denialsAreCountedByRule() {
        let net = Net()
        for _ in 0..<3 { _ = net.judge(Packets.tcp(Net.plant, Net.model, 1, 22)) }
        _ = net.judge(Packets.tcp(Net.model, Net.plant, 1, 22))
        let counted = net.filter.denials.filter { $0.count > 0 }
        #expect(counted == [
            AccessDenials(rule: -1, name: AccessFilter.defaultDenyName, count: 1),
            AccessDenials(rule: 0, name: "ask", count: 3),
        ])
        #expect(net.filter.denialCount == 4)
        let renamed = Net.rule("new", ["plants"], ["models"], .tcp, [1...1])
        let changed = net.change([renamed] + Net.rules)
        #expect(changed.filter.denials.map(\.count) == [1, 0, 3, 0, 0, 0])
    }

    /// Against the plain reading of the rules.
    @Test(arguments: 0..<20)
    func compiledRulesSayWhatTheirTextSays(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        let model = RuleModel(using: &random)
        let net = Net(model.rules)
        for _ in 0..<500 {
            let connection = model.connection(using: &random)
            let isAllowed = net.passes(connection.packet)
            #expect(isAllowed == model.allows(connection), "seed \(seed): \(connection)")
        }
    }
}

/// Questions without packets.
@Suite struct QuestionTests {
    @Test(arguments: [
        (AccessSide.address(IPAddress(Net.plant)!), AccessSide.address(IPAddress(Net.model)!)),
        (.groups(["plants"]), .service("models")),
        (.groups(["plants", "others"]), .address(IPAddress(Net.model6)!)),
    ])
    func theSameRulesAnswer(from: AccessSide, to: AccessSide) {
        let filter = Net().filter
        let allowed = filter.decide(from: from, to: to, .tcp, port: 443)
        #expect(allowed.isAllowed && filter.name(ofRule: allowed.rule) == "ask")
        let denied = filter.decide(from: from, to: to, .tcp, port: 22)
        #expect(!denied.isAllowed && filter.name(ofRule: denied.rule) == "ask")
        let other = filter.decide(from: to, to: from, .tcp, port: 443)
        #expect(!other.isAllowed && other.rule == AccessFilter.defaultDeny)
        #expect(filter.name(ofRule: other.rule) == nil)
        #expect(filter.denialCount == 0)
    }

    @Test func groupsAndStrangers() {
        let filter = Net().filter
        #expect(filter.decide(from: .groups(["offices"]), to: .groups(["hq"]), .icmp, port: 0)
            .isAllowed)
        #expect(!filter.decide(from: .groups(["guests"]), to: .groups(["hq"]), .icmp, port: 0)
            .isAllowed)
        #expect(!filter.decide(
            from: .address(IPAddress("192.0.2.1")!), to: .groups(["hq"]), .icmp, port: 0
        ).isAllowed)
    }
}
