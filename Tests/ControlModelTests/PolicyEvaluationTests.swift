import Testing

@testable import ControlModel

@Suite struct PolicyEvaluationTests {
    private let groups: Set<String> = ["plants", "models", "guests"]

    private func policy(
        _ rules: [AccessPolicy.Rule], _ tests: [AccessPolicy.Test] = []
    ) -> AccessPolicy {
        AccessPolicy(rules: rules, tests: tests)
    }

    private func rule(
        _ transport: String = "tcp", _ ports: [String] = ["443", "8000-8100"],
        from: [String] = ["plants"], to: [String] = ["models"]
    ) -> AccessPolicy.Rule {
        .init(name: "rule", from: from, to: to, transport: transport, ports: ports)
    }

    @Test(arguments: [
        ("plants", "models", "tcp", 443, true), ("plants", "models", "tcp", 442, false),
        ("plants", "models", "tcp", 7999, false), ("plants", "models", "tcp", 8000, true),
        ("plants", "models", "tcp", 8100, true), ("plants", "models", "tcp", 8101, false),
        ("plants", "models", "udp", 443, false), ("models", "plants", "tcp", 443, false),
        ("guests", "models", "tcp", 443, false), ("plants", "guests", "tcp", 443, false),
    ] as [(String, String, String, UInt16, Bool)])
    func onlyWhatARuleSaysIsAllowed(
        from: String, to: String, transport: String, port: UInt16, allowed: Bool
    ) {
        let policy = policy([rule()])
        #expect(
            policy.allows(from: [from, "other"], to: [to], transport: transport, port: port)
                == allowed)
    }

    @Test func starsMeanAll() {
        let all = policy([rule("*", [], from: ["*"], to: ["*"])])
        #expect(all.allows(from: [], to: [], transport: "tcp", port: 1))
        #expect(all.allows(from: ["x"], to: ["y"], transport: "icmp", port: nil))
        #expect(all.allows(from: ["x"], to: ["y"], transport: "sctp", port: nil))
        #expect(!policy([]).allows(from: ["x"], to: ["y"], transport: "tcp", port: 1))
        // A rule with ports says nothing of what has none.
        #expect(!policy([rule()]).allows(
            from: ["plants"], to: ["models"], transport: "tcp", port: nil))
    }

    @Test(arguments: [
        (443, true, true), (443, false, false), (80, false, true), (80, true, false),
        // Some ports are allowed: neither all are, nor none is.
        (nil, true, false), (nil, false, false),
    ] as [(UInt16?, Bool, Bool)])
    func testsHoldOrFail(port: UInt16?, allowed: Bool, holds: Bool) {
        let test = AccessPolicy.Test(
            from: "plants", to: "models", transport: "tcp", port: port, allowed: allowed)
        #expect(policy([rule()], [test]).testFailures().isEmpty == holds)
    }

    @Test func rangesTogetherCoverAllPorts() {
        let test = AccessPolicy.Test(
            from: "plants", to: "models", transport: "tcp", port: nil, allowed: true)
        func holds(_ ports: [String]...) -> Bool {
            policy(ports.map { rule("tcp", $0) }, [test]).testFailures().isEmpty
        }
        #expect(holds(["1-65535"]))
        #expect(holds(["40000-65535"], ["1-39999"]))
        #expect(holds(["1-500", "400-65535"]))
        #expect(!holds(["2-65535"]))
        #expect(!holds(["1-65534"]))
        #expect(!holds(["1-100"], ["102-65535"]))
        #expect(holds([]))
    }

    @Test func aTestOfEveryTransportNeedsAllOfThem() {
        let test = AccessPolicy.Test(
            from: "plants", to: "models", transport: "*", port: nil, allowed: true)
        #expect(policy([rule("*", [])], [test]).testFailures().isEmpty)
        #expect(!policy([rule("tcp", [])], [test]).testFailures().isEmpty)
        let each = ["tcp", "udp", "icmp"].map { rule($0, []) }
        #expect(policy(each, [test]).testFailures().isEmpty)
    }

    @Test func failuresSayWhichTest() {
        let test = AccessPolicy.Test(
            from: "plants", to: "models", transport: "tcp", port: 22, allowed: true)
        #expect(policy([rule()], [test]).testFailures()
            == ["test 1: plants to models, tcp port 22 is denied, should be allowed"])
    }

    @Test func soundPoliciesHaveNoFaults() {
        let test = AccessPolicy.Test(
            from: "plants", to: "guests", transport: "icmp", port: nil, allowed: false)
        let sound = policy([rule(), rule("*", [], from: ["*"], to: ["guests"])], [test])
        #expect(sound.faults(groups: groups).isEmpty)
        #expect(sound.groups == ["plants", "models", "guests"])
    }

    @Test(arguments: ["0", "65536", "01", "1-", "-1", "5-4", "1-2-3", "a", "", " 1", "1 ", "+1"])
    func portsThatAreNoneAreFaults(text: String) {
        #expect(policy([rule("tcp", [text])]).faults(groups: groups).count == 1)
    }

    @Test func everyFaultIsNamed() {
        func faults(_ change: (inout AccessPolicy.Rule) -> Void) -> Int {
            policy([changed(rule(), change)]).faults(groups: groups).count
        }
        #expect(faults { $0.name = "" } == 1)
        #expect(faults { $0.name = String(repeating: "x", count: 129) } == 1)
        #expect(faults { $0.name = String(repeating: "x", count: 128) } == 0)
        #expect(faults { $0.name = "a\nb" } == 1)
        #expect(faults { $0.from = [] } == 1)
        #expect(faults { $0.from = ["nobody"] } == 1)
        #expect(faults { $0.to = Array(repeating: "*", count: 65) } == 1)
        #expect(faults { $0.transport = "sctp" } == 1)
        #expect(faults { $0.transport = "icmp" } == 1)
        #expect(faults { $0.ports = Array(repeating: "1", count: 65) } == 1)
        let many = policy(Array(repeating: rule(), count: 1_001))
        #expect(many.faults(groups: groups).count == 1)
        let bad = policy(Array(repeating: changed(rule()) { $0.name = "" }, count: 1_000))
        #expect(bad.faults(groups: groups).count == 100)
    }

    // MARK: - Services

    private func withService(
        _ name: String = "chat", _ destinations: [String] = ["10.9.0.0/24", "fd00:9::5"],
        to: [String] = ["chat"]
    ) -> AccessPolicy {
        AccessPolicy(
            rules: [rule(to: to)],
            tests: [
                .init(from: "plants", to: name, transport: "tcp", port: 443, allowed: true),
                .init(from: "guests", to: name, transport: "tcp", port: 443, allowed: false),
            ], services: [.init(name: name, destinations: destinations)])
    }

    @Test func rulesAndTestsNameServices() {
        let policy = withService()
        #expect(policy.faults(groups: groups).isEmpty)
        #expect(policy.testFailures().isEmpty)
        #expect(policy.groups == ["plants", "guests"] && policy.serviceNames == ["chat"])
        #expect(policy.allows(from: ["plants"], to: ["chat"], transport: "tcp", port: 443))
        #expect(!policy.allows(from: ["chat"], to: ["plants"], transport: "tcp", port: 443))
    }

    @Test func faultsOfServicesAreNamed() {
        func faults(_ policy: AccessPolicy) -> [String] { policy.faults(groups: groups) }
        #expect(faults(withService("Chat", to: ["Chat"])).count == 1)
        #expect(faults(withService("*", to: ["models"])).count == 1)
        #expect(faults(withService("models", to: ["models"]))
            == ["service 1: models is a group or another service"])
        #expect(faults(withService("chat", [])).count == 1)
        #expect(faults(withService("chat", ["10.0.0.0/33"])).count == 1)
        #expect(faults(withService("chat", ["chat.example"])).count == 1)
        #expect(faults(withService("chat", Array(repeating: "10.0.0.1", count: 65))).count == 1)
        #expect(faults(withService(to: ["caht"]))
            == ["rule 1, to: there is no group or service caht"])
        var from = withService()
        from.rules[0].from = ["chat"]
        #expect(faults(from) == ["rule 1, from: there is no group chat"])
        var twice = withService()
        twice.services = Array(repeating: twice.services![0], count: 2)
        #expect(faults(twice).count == 1)
        var many = withService()
        many.services = Array(repeating: many.services![0], count: 1_001)
        #expect(faults(many) == ["at most 1000 services"])
    }

    @Test func policiesWithoutServicesAreReadAndWrittenAsEver() throws {
        let text = #"{"rules":[],"tests":[]}"#
        let read = try APIJSON.decode(AccessPolicy.self, from: text.utf8)
        #expect(read.services == nil)
        #expect(String(decoding: try APIJSON.encode(read), as: UTF8.self) == text)
        let policy = withService()
        #expect(try APIJSON.decode(AccessPolicy.self, from: APIJSON.encode(policy)) == policy)
    }

    @Test func qosPoliciesAreChecked() {
        let sound = QoSPolicy(
            services: [
                .init(
                    name: "vllm", destination: "10.1.0.0/16", transport: "tcp", ports: ["8000"],
                    trafficClass: "token")
            ], weights: ["bulk": 1, "prompt": 1_000], minimumRate: 1, maximumRate: 1)
        #expect(sound.faults().isEmpty)
        func faults(_ change: (inout QoSPolicy) -> Void) -> Int {
            changed(sound, change).faults().count
        }
        #expect(faults { $0.services[0].destination = "x" } == 1)
        #expect(faults { $0.services[0].trafficClass = "control" } == 1)
        #expect(faults { $0.services[0].ports = ["0"] } == 1)
        #expect(faults { $0.weights["bulk"] = 0 } == 1)
        #expect(faults { $0.weights["bulk"] = 1_001 } == 1)
        #expect(faults { $0.weights["x"] = 1 } == 1)
        #expect(faults { $0.minimumRate = 2 } == 1)
        #expect(faults { $0.maximumRate = 0 } == 2)
        #expect(faults { $0.services = Array(repeating: $0.services[0], count: 1_001) } == 1)
    }
}
