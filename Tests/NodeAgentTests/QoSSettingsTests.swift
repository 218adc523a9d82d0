import ControlModel
import PacketFormats
import Testing
import WireGuardConfiguration

@testable import NodeAgent

/// Policies as the data plane takes them.
@Suite struct QoSSettingsTests {
    private func settings(_ policy: String?, local: String? = nil) throws -> QoSSettings {
        func read(_ text: String) throws -> QoSPolicy {
            try APIJSON.decode(from: "{\(text)}".utf8)
        }
        return QoSSettings(policy: try policy.map(read), local: try local.map(read))
    }

    private func service(_ name: String, _ rest: String) -> String {
        #"{"name":"\#(name)","destination":"10.9.0.0/24","transport":"tcp",\#(rest)}"#
    }

    @Test func everyMemberArrives() throws {
        let chat = service("chat", #""ports":["443","8000-8100"],"traffic_class":"token""#)
        let settings = try settings("""
            "services":[\(chat)],"weights":{"prompt":20,"bulk":1},"priority_percent":60,
            "activation_deadline_ms":4,"believe":{"EF":"activation"},
            "marking":{"outer":"copy","inner":true,"classes":{"bulk":"CS1"}},
            "budget":{"bytes":9,"tokens":8,"per_seconds":7},"classify":false,"read_usage":true
            """)
        var expected = QoSSettings()
        expected.isClassifying = false
        expected.readsUsage = true
        expected.services = [
            .init(
                name: "chat", destination: try #require(IPPrefix("10.9.0.0/24")), transport: .tcp,
                ports: [443...443, 8_000...8_100], trafficClass: .token)
        ]
        expected.believedMarks = [try #require(DSCP(rawValue: 46)): .activation]
        expected.weights = [.prompt: 20, .bulk: 1]
        expected.priorityPercent = 60
        expected.activationDeadlineMicroseconds = 4_000
        expected.outerMarking = .copy
        expected.classMarks = [.bulk: try #require(DSCP(rawValue: 8))]
        expected.marksInner = true
        expected.budget = .init(bytes: 9, tokens: 8, perSeconds: 7)
        #expect(settings == expected)
        #expect(settings.fault() == nil, "the tunnel takes it")
    }

    @Test func theCoordinatorsServicesComeFirst() throws {
        let settings = try settings(
            #""services":[\#(service("a", #""ports":[],"traffic_class":"bulk""#))]"#,
            local: #""services":[\#(service("b", #""ports":[]"#))]"#)
        #expect(settings.services.map(\.name) == ["a", "b"])
        #expect(settings.services.map(\.trafficClass) == [.bulk, nil])
    }

    @Test func theCoordinatorsWordCountsAndTheFileFillsTheGaps() throws {
        let settings = try settings(
            #""weights":{"prompt":20},"priority_percent":60,"believe":{"EF":"bulk"}"#,
            local: """
                "weights":{"prompt":1,"bulk":2},"priority_percent":10,"activation_deadline_ms":3,
                "believe":{"46":"token","CS1":"background"},"classify":false,"budget":{"bytes":5}
                """)
        #expect(settings.weights == [.prompt: 20, .bulk: 2])
        #expect(settings.priorityPercent == 60)
        #expect(settings.activationDeadlineMicroseconds == 3_000)
        #expect(settings.believedMarks == [
            try #require(DSCP(rawValue: 46)): .bulk,
            try #require(DSCP(rawValue: 8)): .background,
        ])
        #expect(!settings.isClassifying && settings.budget == .init(bytes: 5))
    }

    @Test func theLineIsMarkedAsTheFileSays() throws {
        let settings = try settings(
            #""marking":{"outer":"copy","inner":false,"classes":{"bulk":"CS1","token":"EF"}}"#,
            local: #""marking":{"outer":"class","inner":true,"classes":{"token":"AF41"}}"#)
        #expect(settings.outerMarking == .byClass && !settings.marksInner)
        #expect(settings.classMarks == [
            .bulk: try #require(DSCP(rawValue: 8)), .token: try #require(DSCP(rawValue: 34)),
        ])
    }

    @Test(arguments: [
        (nil, nil, false), (true, nil, true), (nil, true, true), (true, true, true),
        (true, false, false), (false, true, false), (false, nil, false),
    ] as [(Bool?, Bool?, Bool)])
    func usageIsReadOnlyWhereNobodyIsAgainstIt(
        _ policy: Bool?, _ local: Bool?, _ reads: Bool
    ) throws {
        func text(_ value: Bool?) -> String { value.map { #""read_usage":\#($0)"# } ?? "" }
        #expect(try settings(text(policy), local: text(local)).readsUsage == reads)
    }

    @Test func whatIsNotUnderstoodIsLeftOutAlone() throws {
        let settings = try settings("""
            "services":[\(service("new", #""ports":[],"traffic_class":"video""#)),
                \(service("odd", #""ports":["x"]"#)), \(service("", #""ports":[]"#)),
                {"name":"ping","destination":"10.0.0.0/8","transport":"icmp","ports":[]},
                {"name":"any","destination":"10.0.0.0/8","transport":"*","ports":["1"]},
                \(service("good", #""ports":[]"#))],
            "weights":{"video":1,"background":3,"control":4,"bulk":0,"prompt":9},
            "priority_percent":100,"activation_deadline_ms":0,
            "believe":{"AF99":"token","DF":"token","EF":"video","CS1":"bulk"},
            "marking":{"outer":"flow","classes":{"video":"EF","token":"AF99","bulk":"CS1"}},
            "budget":{"bytes":0,"tokens":-5}
            """)
        #expect(settings.services.map(\.name) == ["good"])
        #expect(settings.weights == [.prompt: 9])
        #expect(settings.priorityPercent == QoSSettings().priorityPercent)
        #expect(settings.activationDeadlineMicroseconds == 10_000)
        #expect(settings.believedMarks == [try #require(DSCP(rawValue: 8)): .bulk])
        #expect(settings.outerMarking == .off)
        #expect(settings.classMarks == [.bulk: try #require(DSCP(rawValue: 8))])
        #expect(settings.budget == nil)
        #expect(settings.fault() == nil)
    }

    @Test(arguments: [7_999, 0, -1, 10_000_000_000_001, .max] as [Int64])
    func ratesThatNoLineHasAreNone(_ rate: Int64) {
        #expect(QoSSettings.Link(rate: rate, overheadBytes: nil) == nil)
    }

    @Test(arguments: [7_999, 0, -1, 9_000, 9_001, .max] as [Int64])
    func aMinimumThatLeavesNothingToFollowIsNone(_ minimum: Int64) {
        #expect(
            QoSSettings.Link(rate: 9_000, minimum: minimum, overheadBytes: nil)
                == QoSSettings.Link(bitsPerSecond: 9_000))
    }

    @Test func aMinimumBelowTheRateIsTaken() throws {
        let local: QoSPolicy = try APIJSON.decode(
            from: #"{"link":{"rate":8001,"minimum_rate":8000}}"#.utf8)
        let settings = QoSSettings(policy: nil, local: local)
        #expect(settings.link == .init(bitsPerSecond: 8_001, minimumBitsPerSecond: 8_000))
        #expect(settings.fault() == nil)
    }

    @Test func linesAtTheBoundsAreTaken() {
        for rate in [8_000, 10_000_000_000_000] as [Int64] {
            #expect(QoSSettings.Link(rate: rate, overheadBytes: 257)
                == QoSSettings.Link(bitsPerSecond: rate, overheadBytes: 14))
        }
    }

    @Test func thousandsOfServicesAreCutToWhatTheTunnelTakes() throws {
        var policy = QoSPolicy()
        policy.services = (0..<1_500).map {
            .init(name: "s\($0)", destination: "10.0.0.0/8", transport: "tcp")
        }
        let settings = QoSSettings(policy: policy, local: policy)
        #expect(settings.services.count == 1_000 && settings.services.last?.name == "s999")
        #expect(settings.fault() == nil)
    }

    /// A policy and a local file may both have as many as either may have.
    @Test func portRangesAreCutToWhatTheTunnelTakes() throws {
        var policy = QoSPolicy()
        policy.services = (0..<40).map { number in
            .init(
                name: "s\(number)", destination: "10.0.0.0/8", transport: "tcp",
                ports: (1...64).map { String($0 * 2) })
        }
        #expect(policy.faults() == [])
        let settings = QoSSettings(policy: policy, local: policy)
        #expect(settings.services.count == 64)
        #expect(settings.fault() == nil)
    }
}
