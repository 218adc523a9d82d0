import PacketFormats
import Testing

@testable import ControlModel

/// What a QoS policy may say, and how each contradiction is named.
@Suite struct QoSPolicyTests {
    static let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

    /// One member of a policy, and the faults that it leads to.
    struct Case: Sendable, CustomTestStringConvertible {
        let text: String
        let faults: [String]

        init(_ text: String, _ faults: String...) {
            self.text = text
            self.faults = faults
        }

        var testDescription: String { text }
    }

    /// - Parameter texts: Each a destination, behind its name where that matters, a transport,
    ///   ports and a class; `-` for none.
    private static func services(_ texts: String...) -> String {
        let all = texts.enumerated().map { index, text -> String in
            let words = text.split(separator: " ")
            let place = words[0].split(separator: "=")
            let name = place.count > 1 ? String(place[0]) : "s\(index + 1)"
            let ports = words[2] == "-"
                ? "" : words[2].split(separator: ",").map { "\"\($0)\"" }.joined(separator: ",")
            let trafficClass = words[3] == "-" ? "" : ",\"traffic_class\":\"\(words[3])\""
            return """
                {"name":"\(name)","destination":"\(place[place.count - 1])",\
                "transport":"\(words[1])",\
                "ports":[\(ports)]\(trafficClass)}
                """
        }
        return "\"services\":[\(all.joined(separator: ","))]"
    }

    static let sound: [Case] = [
        Case(""),
        Case(#""weights":{"token":1,"activation":1000,"prompt":10,"bulk":3}"#),
        Case(#""priority_percent":1"#), Case(#""priority_percent":95"#),
        Case(#""activation_deadline_ms":1"#), Case(#""activation_deadline_ms":1000"#),
        Case(#""minimum_rate":1,"maximum_rate":1"#),
        Case(#""believe":{"AF21":"token","46":"token","63":"background"}"#),
        Case(#""marking":{"outer":"class","inner":true,"classes":{"token":"EF"}}"#),
        Case(#""marking":{"outer":"copy"}"#), Case(#""marking":{}"#),
        // Classes without a mark are alike.
        Case(#""marking":{"classes":{"prompt":"DF","bulk":"0","background":"CS0"}}"#),
        // Two classes may change their marks.
        Case(#""marking":{"classes":{"prompt":"AF12","bulk":"AF11"}}"#),
        // What is believed elsewhere may differ from what only the outer header has.
        Case(#""believe":{"AF21":"bulk"},"marking":{"outer":"class"}"#),
        Case(#""believe":{"AF21":"token"},"marking":{"inner":true}"#),
        Case(#""budget":{"bytes":1}"#), Case(#""budget":{"tokens":1,"per_seconds":1}"#),
        Case(#""budget":{"bytes":9007199254740991,"per_seconds":31622400}"#),
        Case(#""classify":false,"read_usage":true"#),
        Case(#""links":{"plant-7":{"uplink_rate":8000}}"#),
        Case(#""links":{"a":{"uplink_rate":8001,"uplink_minimum_rate":8000}}"#),
        Case(#""links":{"A.b":{"downlink_rate":10000000000000,"overhead_bytes":256}}"#),
        Case(#""links":{"c":{"uplink_rate":8000,"downlink_rate":8000,"overhead_bytes":0}}"#),
        // The narrower one comes first.
        Case(services("10.9.0.5 tcp 443 bulk", "10.9.0.0/24 tcp - token")),
        Case(services("10.9.0.0/24 tcp 1-9 bulk", "10.9.0.0/24 tcp 9-10 token")),
        Case(services("10.9.0.0/24 tcp - bulk", "10.9.0.0/24 udp - token")),
        Case(services("10.9.0.0/24 tcp 1-9,11-20 bulk", "10.9.0.0/24 tcp 2-3,9-11 token")),
        Case(services("10.9.0.0/24 tcp 11-20,1-9 bulk", "10.9.0.0/24 tcp 21,3 token")),
        // Once more the same is no contradiction.
        Case(services("10.9.0.0/24 * - bulk", "10.9.0.1 udp - bulk")),
        Case(services("fd00::/8 * - -")),
    ]

    static let contradictory: [Case] = [
        Case(#""weights":{"background":1}"#, "weights: background has what is left, and no weight"),
        Case(
            #""weights":{"control":1}"#,
            "weights: control goes before all others, and has no weight"),
        Case(#""weights":{"tokn":1}"#, "weights: there is no traffic class tokn"),
        Case(#""weights":{"bulk":0}"#, "weights: a weight is 1 to 1000"),
        Case(#""weights":{"bulk":1001}"#, "weights: a weight is 1 to 1000"),
        Case(
            #""priority_percent":0"#,
            "priority_percent: it is 1 to 95, so that something is left for the other classes"),
        Case(
            #""priority_percent":96"#,
            "priority_percent: it is 1 to 95, so that something is left for the other classes"),
        Case(#""activation_deadline_ms":0"#, "activation_deadline_ms: it is 1 to 1000"),
        Case(#""activation_deadline_ms":1001"#, "activation_deadline_ms: it is 1 to 1000"),
        Case(
            #""minimum_rate":2,"maximum_rate":1"#, "rates: the minimum is above the maximum"),
        Case(
            #""minimum_rate":0"#, "rates: a rate is 1 to 1000000000000000 bits per second"),
        Case(
            #""maximum_rate":1000000000000001"#,
            "rates: a rate is 1 to 1000000000000000 bits per second"),
        Case(#""believe":{"AF24":"token"}"#, "believe: AF24 is no DSCP such as AF21, or 0 to 63"),
        Case(#""believe":{"64":"token"}"#, "believe: 64 is no DSCP such as AF21, or 0 to 63"),
        Case(
            #""believe":{"EF":"control"}"#,
            "believe: control is the tunnel's own traffic, and no policy gives it"),
        Case(
            #""believe":{"DF":"token"}"#, "believe: DF is on every packet that nobody has marked"),
        Case(
            #""believe":{"46":"token","EF":"bulk"}"#, "believe: EF is there twice"),
        Case(#""marking":{"outer":"on"}"#, "marking: outer is off, class or copy"),
        Case(
            #""marking":{"classes":{"urgent":"EF"}}"#,
            "marking: there is no traffic class urgent"),
        Case(
            #""marking":{"classes":{"token":"EF","prompt":"46"}}"#,
            "marking: token and prompt would both have EF"),
        // The standard mark of a class that is not named counts as well.
        Case(
            #""marking":{"classes":{"prompt":"AF21"}}"#,
            "marking: token and prompt would both have AF21"),
        Case(
            #""believe":{"AF21":"bulk"},"marking":{"inner":true}"#,
            "marking: AF21 is written for token, and believed to be bulk"),
        Case(#""budget":{}"#, "budget: it limits neither bytes nor tokens"),
        Case(#""budget":{"bytes":0}"#, "budget: bytes is 1 to 9007199254740991"),
        Case(#""budget":{"tokens":-1}"#, "budget: tokens is 1 to 9007199254740991"),
        Case(
            #""budget":{"tokens":1,"per_seconds":0}"#,
            "budget: per_seconds is 1 to 31622400, a year"),
        Case(
            #""budget":{"tokens":1,"per_seconds":31622401}"#,
            "budget: per_seconds is 1 to 31622400, a year"),
        Case(
            #""links":{"a":{"uplink_rate":7999}}"#,
            "link of a: uplink_rate is 8000 to 10000000000000 bits per second"),
        Case(
            #""links":{"a":{"downlink_rate":10000000000001}}"#,
            "link of a: downlink_rate is 8000 to 10000000000000 bits per second"),
        Case(
            #""links":{"a":{"uplink_rate":0}}"#,
            "link of a: uplink_rate is 8000 to 10000000000000 bits per second"),
        Case(
            #""links":{"a":{"overhead_bytes":14}}"#,
            "link of a: it says neither uplink_rate nor downlink_rate"),
        Case(
            #""links":{"a":{"uplink_rate":8000,"overhead_bytes":257}}"#,
            "link of a: overhead_bytes is 0 to 256"),
        Case(
            #""links":{"a":{"uplink_rate":8000,"overhead_bytes":-1}}"#,
            "link of a: overhead_bytes is 0 to 256"),
        Case(
            #""links":{"a":{"uplink_rate":9000,"uplink_minimum_rate":9000}}"#,
            "link of a: uplink_minimum_rate is not below uplink_rate"),
        Case(
            #""links":{"a":{"uplink_rate":9000,"uplink_minimum_rate":0}}"#,
            "link of a: uplink_minimum_rate is 8000 to 10000000000000 bits per second"),
        Case(
            #""links":{"a":{"downlink_rate":9000,"uplink_minimum_rate":8000}}"#,
            "link of a: uplink_minimum_rate without uplink_rate changes nothing"),
        Case(
            #""links":{"a b":{"uplink_rate":8000}}"#,
            "link of a b: a node's name is 1 to 63 letters, digits, hyphens and points"),
        Case(
            services("10.0.0.0/33 tcp - -"),
            "service 1: its destination is no network such as 10.0.0.0/8"),
        Case(
            services("10.0.0.0/8 icmp - -"),
            "service 1: the transport is tcp, udp or *"),
        Case(
            services("10.0.0.0/8 * 443 -"),
            "service 1: only tcp and udp have ports"),
        Case(
            services("10.0.0.0/8 tcp 0 -"),
            "service 1: 0 is no port such as 443 or 8000-8100"),
        Case(
            services("10.0.0.0/8 tcp - control"),
            "service 1: control is the tunnel's own traffic, and no policy gives it"),
        Case(
            services("kv=10.0.0.1 tcp - bulk", "kv=10.0.0.2 tcp - token"),
            "service 2: kv is bulk in service 1, and token here"),
        Case(
            services("10.0.0.0/8 tcp 1-100 bulk", "10.9.0.0/24 tcp 80 token"),
            "service 2: service 1 is bulk and has all of it; put the narrower one first"),
        // Several ranges may have another one together.
        Case(
            services("10.0.0.0/8 tcp 50-100,1-49,90-120 bulk", "10.9.0.0/24 tcp 119,40-60 token"),
            "service 2: service 1 is bulk and has all of it; put the narrower one first"),
        Case(
            services("10.0.0.0/8 * - bulk", "10.9.0.0/24 udp 53 -"),
            "service 2: service 1 is bulk and has all of it; put the narrower one first"),
        Case(
            services("10.0.0.0/8 tcp 1-65535 bulk", "10.0.0.0/8 tcp - token"),
            "service 2: service 1 is bulk and has all of it; put the narrower one first"),
        Case(
            #""link":{"rate":8000}"#,
            "link: only a node's own file has it; \"links\" is by node"),
        Case(
            #""peers":{}"#, "peers: only a node's own file has them; \"links\" is by node"),
    ]

    static let soundLocally: [Case] = [
        Case(#""link":{"rate":8000}"#),
        Case(#""link":{"rate":8001,"minimum_rate":8000}"#),
        Case(#""link":{"rate":10000000000000,"overhead_bytes":0},"minimum_rate":10000000000000"#),
        Case(#""peers":{"\#(key)":{"rate":8000,"overhead_bytes":22}}"#),
        Case(#""peers":{"\#(key)":{"outer":"off"}}"#),
        Case(#""peers":{"\#(key)":{"ceiling":"background"}}"#),
        Case(#""services":null,"weights":null,"marking":null"#),
    ]

    static let contradictoryLocally: [Case] = [
        Case(
            #""link":{"rate":7999}"#, "link: rate is 8000 to 10000000000000 bits per second"),
        Case(#""link":{"rate":0}"#, "link: rate is 8000 to 10000000000000 bits per second"),
        Case(
            #""link":{"rate":9000,"minimum_rate":9001}"#,
            "link: minimum_rate is not below rate"),
        Case(
            #""link":{"rate":9000,"minimum_rate":7999}"#,
            "link: minimum_rate is 8000 to 10000000000000 bits per second"),
        Case(
            #""link":{"rate":8000},"minimum_rate":8001"#,
            "rates: the minimum is above the rate of the link"),
        Case(#""peers":{"x":{"rate":8000}}"#, "peer x: it is no public key in base64"),
        Case(#""peers":{"\#(key)":{}}"#, "peer \(key): nothing is said of it"),
        Case(
            #""peers":{"\#(key)":{"overhead_bytes":1}}"#,
            "peer \(key): overhead_bytes without a rate changes nothing"),
        Case(#""peers":{"\#(key)":{"ceiling":"control"}}"#,
            "peer \(key): control is the tunnel's own traffic, and no policy gives it"),
        Case(#""peers":{"\#(key)":{"outer":"yes"}}"#, "peer \(key): outer is off, class or copy"),
    ]

    private func policy(_ text: String) throws -> QoSPolicy {
        try APIJSON.decode(from: "{\(text)}".utf8)
    }

    @Test(arguments: sound)
    func soundPoliciesHaveNoFaults(_ sound: Case) throws {
        #expect(try policy(sound.text).faults() == [])
        #expect(try QoSPolicy(localFile: Array("{\(sound.text)}".utf8)).faults() == [])
    }

    @Test(arguments: contradictory)
    func contradictionsAreNamed(_ wrong: Case) throws {
        #expect(try policy(wrong.text).faults() == wrong.faults)
    }

    @Test(arguments: soundLocally)
    func localFilesSayMore(_ sound: Case) throws {
        let policy = try QoSPolicy(localFile: Array("{\(sound.text)}".utf8))
        #expect(policy.faults(of: .localFile) == [])
    }

    @Test(arguments: contradictoryLocally)
    func contradictoryLocalFilesAreRefused(_ wrong: Case) {
        #expect(throws: QoSFileFault(wrong.faults.joined(separator: "; "))) {
            try QoSPolicy(localFile: Array("{\(wrong.text)}".utf8))
        }
    }

    @Test(arguments: [
        (#"{"weight":{}}"#, "nothing is known of weight"),
        (#"{"marking":{"out":"off"},"links":{"a":{"uplink":8000}}}"#,
            "nothing is known of links.a.uplink, marking.out"),
        (#"{"services":[{"name":"a","destination":"::/0","transport":"*","ports":[],"port":1}]}"#,
            "nothing is known of services[0].port"),
        (#"{"services":[{"name":"a","transport":"*"}]}"#,
            "services[0].destination is missing"),
        (#"{"priority_percent":"80"}"#, "a number is wanted at priority_percent"),
        (#"{"services":{}}"#, "a list is wanted at services"),
        (#"{"link":{"rate":1e99}}"#, DecodingFault.notJSON), ("[]", "an object is wanted"),
        ("", DecodingFault.notJSON), ("{", DecodingFault.notJSON),
    ] as [(String, String)])
    func misspeltAndBrokenFilesAreRefused(_ text: String, _ words: String) {
        #expect(throws: QoSFileFault(words)) { try QoSPolicy(localFile: Array(text.utf8)) }
    }

    @Test func filesHaveABound() {
        let room = PolicyLimits.fileBytesMax
        let padded = Array("{}".utf8) + Array(repeating: UInt8(ascii: " "), count: room - 2)
        #expect(throws: Never.self) { try QoSPolicy(localFile: padded) }
        #expect(throws: QoSFileFault("it is larger than \(room) bytes")) {
            try QoSPolicy(localFile: padded + [0x20])
        }
    }

    @Test func namesAndKeysStayAsTheyAreWritten() throws {
        let text = #"""
            {"links":{"Plant_7":{"uplink_rate":8000},"plantSeven":{"uplink_rate":9000}},\#
            "peers":{"\#(Self.key)":{"rate":8000}},"services":[],"weights":{}}
            """#
        let policy: QoSPolicy = try APIJSON.decode(from: text.utf8)
        #expect(policy.links?.keys.sorted() == ["Plant_7", "plantSeven"])
        #expect(policy.peers?.keys.first == Self.key)
        #expect(String(decoding: try APIJSON.encode(policy), as: UTF8.self) == text)
    }

    @Test func policiesOfOlderVersionsAreReadAndWrittenAsEver() throws {
        let text = #"""
            {"maximum_rate":5,"services":[{"destination":"10.0.0.0/8","name":"a",\#
            "ports":["1-2"],"traffic_class":"token","transport":"tcp"}],"weights":{"token":4}}
            """#
        let read: QoSPolicy = try APIJSON.decode(from: text.utf8)
        #expect(read.maximumRate == 5 && read.services[0].trafficClass == "token")
        #expect(String(decoding: try APIJSON.encode(read), as: UTF8.self) == text)
    }

    @Test func policiesOfNewerVersionsAreReadAsFarAsTheyAreKnown() throws {
        let policy = try policy(#""pacing":{"on":true},"marking":{"outer":"flow","colour":1}"#)
        #expect(policy.marking == QoSPolicy.Marking(outer: "flow"))
    }

    @Test func portRangesOfAllServicesHaveABound() {
        func policy(_ last: Int) -> QoSPolicy {
            var policy = QoSPolicy()
            policy.services = (0..<64).map { index in
                QoSPolicy.Service(
                    name: "s\(index)", destination: "10.0.0.0/8", transport: "tcp",
                    ports: (1...(index == 63 ? last : 64)).map { String($0 * 900 + index) })
            }
            return policy
        }
        #expect(policy(64).faults() == [])
        var more = policy(64)
        more.services.append(
            .init(name: "one", destination: "::/0", transport: "tcp", ports: ["1"]))
        #expect(more.faults() == ["at most 4096 port ranges in all services together"])
    }

    @Test func countsHaveBounds() {
        var policy = QoSPolicy()
        let service = QoSPolicy.Service(name: "a", destination: "::/0", transport: "*")
        policy.services = Array(repeating: service, count: PolicyLimits.servicesMax)
        #expect(policy.faults() == [])
        policy.services.append(service)
        #expect(policy.faults() == ["at most 1000 services"])
        policy.services = []
        let line = QoSPolicy.NodeLink(uplinkRate: 8_000)
        policy.links = Dictionary(
            uniqueKeysWithValues: (0..<PolicyLimits.linksMax).map { ("n\($0)", line) })
        #expect(policy.faults() == [])
        policy.links?["one-more"] = line
        #expect(policy.faults() == ["at most 16384 links and peers"])
    }

    @Test func faultsAreBounded() {
        var policy = QoSPolicy()
        policy.services = Array(
            repeating: .init(name: "", destination: "x", transport: "y"), count: 1_000)
        #expect(policy.faults().count == 100)
    }

    @Test func everyCeilingIsAClass() {
        let classes = ClassCeiling.allCases.map(\.trafficClass)
        #expect(classes == Array(TrafficClass.allCases.dropFirst()), "the best first")
        #expect(classes.map(\.name) == ClassCeiling.allCases.map(\.rawValue))
    }
}
