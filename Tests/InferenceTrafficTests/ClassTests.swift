import PacketFormats
import TestSupport
import Testing

@testable import InferenceTraffic

/// Which class a packet gets, and from what.
@Suite struct ClassTests {
    private func opened(_ tap: inout Tap, serverPort: UInt16 = 443) -> Connection {
        var connection = Connection(serverPort: serverPort)
        connection.open(&tap)
        return connection
    }

    /// An upload that shows nothing: 16 KiB are the beginning, a mebibyte is a prompt at most.
    @Test func anUnknownUploadSinksBySize() {
        var tap = Tap()
        var connection = opened(&tap)
        var sent = 0
        while sent < 2 << 20 {
            let trafficClass = connection.send(&tap, from: .client, count: 1_024).trafficClass
            let expected: TrafficClass =
                sent < 16 << 10 ? .token : sent <= 1 << 20 ? .prompt : .bulk
            #expect(trafficClass == expected, "\(sent)")
            sent += 1_024
        }
    }

    @Test func aDownloadSinksInItsOwnDirectionOnly() {
        var tap = Tap()
        var connection = opened(&tap)
        connection.send(&tap, from: .client, count: 500)
        var last = TrafficClass.token
        for _ in 0..<100 {
            tap.wait(1)
            last = connection.send(&tap, from: .server, count: 14_000).trafficClass
        }
        #expect(last == .bulk)
        #expect(connection.acknowledge(&tap, from: .server).trafficClass == .prompt)
        tap.wait(1_001)
        #expect(connection.acknowledge(&tap, from: .client).trafficClass == .token)
    }

    /// Pure acknowledgements of a download leave by the small uplink, at once.
    @Test func acknowledgementsOfADownloadAreNotHeldBack() {
        var tap = Tap()
        var connection = opened(&tap)
        connection.send(&tap, from: .client, count: 500)
        tap.wait(1_500)
        for _ in 0..<200 {
            tap.wait(1)
            connection.send(&tap, from: .server, count: 28_000)
            #expect(connection.acknowledge(&tap, from: .client).trafficClass == .token)
        }
    }

    @Test func acknowledgementsBehindAnUploadStayNearIt() {
        var tap = Tap()
        var connection = opened(&tap)
        for _ in 0..<200 { connection.send(&tap, from: .client, count: 28_000) }
        #expect(connection.acknowledge(&tap, from: .client).trafficClass == .prompt)
        tap.wait(1_000)
        #expect(connection.acknowledge(&tap, from: .client).trafficClass == .prompt)
        tap.wait(1)
        #expect(connection.acknowledge(&tap, from: .client).trafficClass == .token)
    }

    @Test func aPauseBeginsAnotherBurst() {
        var tap = Tap()
        var connection = opened(&tap)
        for _ in 0..<100 { connection.send(&tap, from: .client, count: 28_000) }
        tap.wait(1_000)
        #expect(connection.send(&tap, from: .client, count: 1_000).trafficClass == .bulk)
        tap.wait(1_001)
        #expect(connection.send(&tap, from: .client, count: 1_000).trafficClass == .token)
    }

    /// A long frame of a connection with a grown window is no question.
    @Test(arguments: [(16_384, TrafficClass.token), (16_385, .prompt), (64_400, .prompt)])
    func aFrameBeyondTheBeginningIsNone(count: Int, expected: TrafficClass) {
        var tap = Tap()
        var connection = opened(&tap)
        #expect(connection.send(&tap, from: .client, count: count).trafficClass == expected)
        #expect(connection.send(&tap, from: .client, count: 100).trafficClass == .prompt)
    }

    /// Every request on a kept connection begins again.
    @Test func eachRequestOfAConnectionBeginsHigh() {
        var tap = Tap()
        var connection = opened(&tap)
        for _ in 0..<20 {
            #expect(connection.send(&tap, from: .client, count: 14_000).trafficClass == .token)
            #expect(connection.send(&tap, from: .client, count: 2_000).trafficClass == .token)
            connection.send(&tap, from: .client, count: 1_000)
            #expect(connection.send(&tap, from: .client, count: 14_000).trafficClass == .prompt)
            tap.wait(300)
            connection.send(&tap, from: .server, count: 800)
            tap.wait(700)
        }
    }

    /// Whoever cuts an upload into small requests gains a part of a slow line's rate, no more.
    @Test func requestsWithoutEndDoNotStayHigh() {
        var tap = Tap()
        var connection = opened(&tap)
        var high = 0
        for _ in 0..<2_000 {
            let verdict = connection.send(&tap, from: .client, count: 14_000)
            if verdict.trafficClass == .token { high += 14_000 }
            tap.wait(5)
            connection.send(&tap, from: .server, count: 100)
        }
        // Ten seconds at 64 KiB, and what is there at once.
        #expect(high <= (10 * 4 + 17) * 16_384, "\(high)")
    }

    @Test func policyIsTrustedBeforeAll() throws {
        var tap = Tap()
        tap.rules = ClassRules(
            services: [
                ClassRules.Service(
                    name: "backup", destination: IPPrefix("10.9.0.0/24")!, transport: .tcp,
                    ports: [8_000...8_010], trafficClass: .background)
            ],
            believedMarks: [.af21: .token])
        var connection = Connection(serverPort: 8_005)
        connection.trafficClass = 18 << 2
        connection.open(&tap)
        #expect(connection.send(&tap, from: .client, count: 100).trafficClass == .background)
        #expect(connection.send(&tap, from: .server, count: 100).trafficClass == .background)
        // Its acknowledgements would starve it.
        tap.wait(2_000)
        #expect(connection.acknowledge(&tap, from: .client).trafficClass == .token)
        let record = try connection.record(tap)
        #expect(record.evidence == .policy)
        #expect(record.service == "backup")
    }

    @Test func newRulesCountForOldFlows() throws {
        var tap = Tap()
        var connection = opened(&tap)
        #expect(connection.send(&tap, from: .client, count: 100).trafficClass == .token)
        tap.rules = ClassRules(services: [
            ClassRules.Service(
                name: "activations", destination: IPPrefix("10.9.0.5/32")!, transport: .any,
                ports: [], trafficClass: .activation)
        ])
        #expect(connection.send(&tap, from: .client, count: 100).trafficClass == .activation)
        tap.rules = ClassRules()
        #expect(connection.send(&tap, from: .client, count: 100).trafficClass == .token)
        #expect(try connection.record(tap).service == nil)
    }

    @Test func believedMarksAreTrustedAndOthersAreNot() throws {
        var tap = Tap()
        tap.rules = ClassRules(believedMarks: [.le: .background, .af31: .activation])
        var connection = opened(&tap)
        connection.trafficClass = 1 << 2 | 2
        #expect(connection.send(&tap, from: .client, count: 100).trafficClass == .background)
        #expect(try connection.record(tap).evidence == .mark)
        connection.trafficClass = 26 << 2
        #expect(connection.send(&tap, from: .client, count: 100).trafficClass == .activation)
        connection.trafficClass = 46 << 2
        #expect(connection.send(&tap, from: .client, count: 100).trafficClass == .token)
        #expect(try connection.record(tap).evidence == .beginning)
    }

    /// Clients that mark everything as urgent get no more than their ceiling.
    @Test func aCeilingHoldsDownWhatMarksAndPolicySay() throws {
        var tap = Tap()
        tap.rules = ClassRules(believedMarks: [.cs6: .control])
        tap.ceiling = .prompt
        var connection = opened(&tap)
        connection.trafficClass = 48 << 2
        #expect(connection.send(&tap, from: .client, count: 100).trafficClass == .prompt)
        #expect(try connection.record(tap).isLimited)
        tap.ceiling = .control
        #expect(connection.send(&tap, from: .client, count: 100).trafficClass == .control)
        #expect(try !connection.record(tap).isLimited)
    }

    @Test func withoutClassificationAllIsToken() {
        var tap = Tap()
        tap.rules = ClassRules(isClassifying: false)
        var connection = opened(&tap)
        for _ in 0..<100 {
            #expect(connection.send(&tap, from: .client, count: 60_000).trafficClass == .token)
        }
    }

    @Test func directionsOfAFlowAreTwoFlowsAndEachIsOne() {
        var tap = Tap()
        var connection = opened(&tap)
        let out = connection.send(&tap, from: .client, count: 100).flow
        let back = connection.send(&tap, from: .server, count: 100).flow
        #expect(out != back)
        #expect(connection.acknowledge(&tap, from: .client).flow == out)
        #expect(connection.acknowledge(&tap, from: .server).flow == back)
        var other = Connection(clientPort: 51_001, serverPort: 443)
        #expect(other.send(&tap, from: .client, count: 100).flow != out)
    }

    @Test func anIPv6ConnectionIsAFlowLikeAnother() throws {
        var tap = Tap()
        var connection = Connection(serverPort: 443)
        connection.isIPv4 = false
        connection.open(&tap)
        for _ in 0..<200 { connection.send(&tap, from: .client, count: 14_000) }
        #expect(tap.table.count == 1)
        #expect(try connection.record(tap).bytesOut == 2_800_000)
        #expect(connection.send(&tap, from: .client, count: 14_000).trafficClass == .bulk)
    }
}

/// What is not TCP.
@Suite struct DatagramClassTests {
    private func packet(_ protocolNumber: UInt8 = 17) -> TapPacket {
        TapPacket(
            source: 0x0a00_0002, destination: 0x0a09_0005, sourcePort: 40_000,
            destinationPort: 4_433, protocolNumber: protocolNumber)
    }

    @Test func voiceIsToken() {
        var tap = Tap()
        for _ in 0..<2_000 {
            tap.wait(20)
            for direction in [FlowDirection.outbound, .inbound] {
                let verdict = tap.pass(
                    packet(), [UInt8](repeating: 1, count: 172), direction: direction)
                #expect(verdict.trafficClass == .token)
            }
        }
    }

    @Test func fullDatagramsAtRateSink() {
        var tap = Tap()
        var classes: [TrafficClass] = []
        for _ in 0..<2_000 {
            tap.wait(0.5)
            classes.append(
                tap.pass(packet(), [UInt8](repeating: 1, count: 1_200), direction: .outbound)
                    .trafficClass)
        }
        #expect(classes[0] == .token)
        #expect(classes[100] == .prompt)
        #expect(classes[1_999] == .bulk)
        #expect(classes == classes.sorted())
    }

    @Test func aFloodOfSmallDatagramsSinksToo() {
        var tap = Tap()
        var last = TrafficClass.token
        for _ in 0..<20_000 {
            tap.wait(0.1)
            last = tap.pass(packet(), [UInt8](repeating: 1, count: 100), direction: .outbound)
                .trafficClass
        }
        #expect(last == .bulk)
    }

    @Test func echoesAreTokenAndOtherProtocolsArePrompt() {
        var tap = Tap()
        #expect(tap.pass(packet(1), [8, 0, 0, 0], direction: .outbound).trafficClass == .token)
        #expect(
            tap.pass(packet(1), [UInt8](repeating: 0, count: 1_400), direction: .outbound)
                .trafficClass == .prompt)
        #expect(tap.pass(packet(50), [1, 2, 3, 4], direction: .outbound).trafficClass == .prompt)
        #expect(tap.table.count == 0)
    }

    @Test func fragmentsFollowPolicyOfTheirAddresses() {
        var tap = Tap()
        var fragment = packet()
        fragment.fragment = 0x2000
        let bytes = [UInt8](repeating: 0, count: 1_000)
        #expect(tap.pass(fragment, bytes, direction: .outbound).trafficClass == .prompt)
        fragment.fragment = 100
        #expect(tap.pass(fragment, bytes, direction: .outbound).trafficClass == .prompt)
        tap.rules = ClassRules(services: [
            ClassRules.Service(
                name: "all", destination: IPPrefix("10.9.0.0/16")!, transport: .any, ports: [],
                trafficClass: .background)
        ])
        #expect(tap.pass(fragment, bytes, direction: .outbound).trafficClass == .background)
        #expect(tap.pass(packet(1), [8, 0, 0, 0], direction: .outbound).trafficClass == .background)
    }
}
