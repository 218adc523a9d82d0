import Cryptography
import PacketFormats
import Testing
import WireGuardConfiguration

/// `set_qos=1` requests, and what settings cannot be.
@Suite struct QoSSettingsTextTests {
    @Test func everySettingSurvivesTheRoundTrip() throws {
        let settings = try Self.everything()
        #expect(settings.fault() == nil)
        #expect(try read(UAPI.serialize(settings)) == settings)
    }

    @Test func standardSettingsAreAnEmptyRequest() throws {
        #expect(string(UAPI.serialize(QoSSettings())) == "set_qos=1\n\n")
        #expect(try read(Array("set_qos=1\n\n".utf8)) == QoSSettings())
    }

    @Test func equalSettingsHaveEqualText() throws {
        // Dictionaries have no order of their own.
        let texts = try (0..<20).map { _ in try UAPI.serialize(Self.everything()) }
        #expect(Swift.Set(texts).count == 1)
    }

    @Test func settingsReadAsWritten() throws {
        let request = """
            set_qos=1
            link=20000000 18 5000000
            service=tcp 10.9.0.0/24 443,8000-8100 token chat at HQ
            service=* fd00::/8 * - named only
            believe=18 token
            weight=prompt 10
            budget=- 5 60
            public_key=\(Samples.peerHex[0])
            ceiling=prompt

            """
        var expected = QoSSettings()
        expected.link = .init(
            bitsPerSecond: 20_000_000, overheadBytes: 18, minimumBitsPerSecond: 5_000_000)
        let places = try ["10.9.0.0/24", "fd00::/8"].map { try #require(IPPrefix($0)) }
        expected.services = [
            .init(
                name: "chat at HQ", destination: places[0], transport: .tcp,
                ports: [443...443, 8_000...8_100], trafficClass: .token),
            .init(name: "named only", destination: places[1], transport: .any),
        ]
        expected.believedMarks = [.af21: .token]
        expected.weights = [.prompt: 10]
        expected.budget = .init(bytes: nil, tokens: 5, perSeconds: 60)
        let key = try #require(PublicKey(hex: Samples.peerHex[0]))
        expected.peers = [key: .init(ceiling: .prompt)]
        #expect(try read(Array(request.utf8)) == expected)
    }

    @Test(arguments: [
        "novelty=1", "link=1000", "link=x 14", "link=5000 14 x", "link=5000 14 ",
        "link=5000 14 1000 1", "link=-1000 14",
        "link=9999999999999999999 14", "classify=yes", "mark_inner=1", "priority_percent=",
        "priority_percent=1\npriority_percent=1", "weight=token", "weight=tokens 1",
        "weight=token 1\nweight=token 1", "believe=64 token", "believe=AF21 token",
        "believe=1 token\nbelieve=1 bulk", "class_mark=token 64", "outer_marking=copied",
        "ceiling=best", "peers_ceiling=best", "budget=1 1", "budget=1 1 1 1",
        "service=tcp 10.0.0.0/8 443 token",
        "service=sctp 10.0.0.0/8 * token a", "service=tcp 10.0.0.1 * token a",
        "service=tcp 10.0.0.0/8 9-8 token a", "service=tcp 10.0.0.0/8 1,,2 token a",
        "service=tcp 10.0.0.0/8 65536 token a", "service=tcp 10.0.0.0/8 1-2-3 token a",
        "service=tcp 10.0.0.0/8  token a", "service=tcp 10.0.0.0/8 * best a",
        "public_key=x", "public_key=\(Samples.peerHex[0])\nweight=token 1",
        "public_key=\(Samples.peerHex[0])\npublic_key=\(Samples.peerHex[0])",
        "public_key=\(Samples.peerHex[0])\nceiling=bulk\nceiling=bulk", "x", "=1",
    ])
    func damagedLinesAreRefusedWithTheirNumber(lines: String) {
        let error = failure { () throws(UAPIError) in
            _ = try UAPI.parse(request: "set_qos=1\n\(lines)\n\n")
        }
        #expect(error?.line == 1 + lines.split(separator: "\n").count)
    }

    /// Bounds and one beyond them, at both ends.
    @Test(arguments: [
        ("link=5000 14 4999", "link=5000 14 5000"), ("link=5000 14 1000", "link=5000 14 999"),
        ("link=1000 14", "link=999 14"), ("link=10000000000000 0", "link=10000000000001 0"),
        ("link=1000 1000", "link=1000 1001"), ("priority_percent=1", "priority_percent=0"),
        ("priority_percent=99", "priority_percent=100"), ("weight=bulk 1", "weight=bulk 0"),
        ("weight=token 1000", "weight=token 1001"), ("weight=prompt 5", "weight=control 5"),
        ("weight=activation 5", "weight=background 5"),
        ("activation_deadline_usec=1000", "activation_deadline_usec=999"),
        ("activation_deadline_usec=1000000", "activation_deadline_usec=1000001"),
        ("budget=1 - 1", "budget=0 - 1"), ("budget=- 1 1", "budget=- 0 1"),
        ("budget=1 1 31622400", "budget=1 1 31622401"), ("budget=- 1 1", "budget=- - 1"),
        ("budget=1 1 1", "budget=1 1 0"),
        ("service=tcp ::/0 * token a", "service=tcp ::/0 * token "),
        ("service=tcp ::/0 * token a", "service=tcp ::/0 * token a\u{1B}"),
        (
            "public_key=\(Samples.peerHex[0])\nlink=1000 14",
            "public_key=\(Samples.peerHex[0])\nlink=0 14"
        ),
        (
            "link=5000 14 1000\npublic_key=\(Samples.peerHex[0])\nlink=5000 14",
            "link=5000 14 1000\npublic_key=\(Samples.peerHex[0])\nlink=5000 14 1000"
        ),
    ])
    func boundsHold(accepted: String, refused: String) throws {
        _ = try read(Array("set_qos=1\n\(accepted)\n\n".utf8))
        let error = failure { () throws(UAPIError) in
            _ = try UAPI.parse(request: "set_qos=1\n\(refused)\n\n")
        }
        #expect(error?.kind == .invalid)
        #expect(error?.line == nil && error?.reason.isEmpty == false)
    }

    @Test func servicesAreBounded() throws {
        let line = "service=tcp 10.0.0.0/8 443 token chat\n"
        let most = "set_qos=1\n" + String(repeating: line, count: QoSSettings.servicesMax)
        #expect(try read(Array(most.utf8)).services.count == QoSSettings.servicesMax)
        #expect(throws: UAPIError.self) { try UAPI.parse(request: most + line) }
        var settings = try read(Array(most.utf8))
        settings.services.append(settings.services[0])
        #expect(settings.fault() != nil)
    }

    @Test func portRangesOfAllServicesAreBounded() throws {
        let ports = repeatElement("1", count: 64).joined(separator: ",")
        let line = "service=tcp 10.0.0.0/8 \(ports) token chat\n"
        let most = "set_qos=1\n" + String(repeating: line, count: 64)
        var settings = try read(Array(most.utf8))
        #expect(settings.services.count == 64 && settings.fault() == nil)
        let request = most + "service=udp ::/0 * - all\nservice=tcp ::/0 1 - a\n"
        let error = failure { () throws(UAPIError) in _ = try UAPI.parse(request: request) }
        #expect(error?.line == 67 && error?.reason.contains("4096") == true)
        settings.services.append(
            .init(
                name: "a", destination: try #require(IPPrefix("::/0")), transport: .tcp,
                ports: [1...1]))
        #expect(settings.fault()?.contains("4097 ranges of ports") == true)
    }

    @Test func aServiceIsBounded() throws {
        func line(ports: Int, name: Int) -> String {
            let ports = repeatElement("1", count: ports).joined(separator: ",")
            let name = String(repeating: "a", count: name)
            return "set_qos=1\nservice=tcp 10.0.0.0/8 \(ports) token \(name)\n\n"
        }
        #expect(try read(Array(line(ports: 64, name: 255).utf8)).services.count == 1)
        #expect(throws: UAPIError.self) { try UAPI.parse(request: line(ports: 65, name: 1)) }
        #expect(throws: UAPIError.self) { try UAPI.parse(request: line(ports: 1, name: 256)) }
    }

    @Test func lineBreaksInNamesCannotForgeLines() throws {
        var settings = QoSSettings()
        settings.services = [
            .init(
                name: "chat\nlink=1000 14\r\nclassify=false",
                destination: try #require(IPPrefix("::/0")), transport: .any)
        ]
        #expect(settings.fault() != nil)
        let read = try read(UAPI.serialize(settings))
        #expect(read.services.count == 1 && read.link == nil && read.isClassifying)
    }

    static func everything() throws -> QoSSettings {
        var settings = QoSSettings()
        settings.isClassifying = false
        settings.readsUsage = true
        settings.link = .init(bitsPerSecond: 20_000_000, overheadBytes: 0)
        for (index, transport) in QoSSettings.Service.Transport.allCases.enumerated() {
            let ports = Array([0...0, 5...UInt16.max].dropLast(index))
            settings.services.append(
                .init(
                    name: "a  \(index) b=c ", destination: try #require(IPPrefix("fd00::/7")),
                    transport: transport, ports: ports,
                    trafficClass: index == 0 ? nil : TrafficClass.allCases[index]))
        }
        for (index, trafficClass) in TrafficClass.allCases.enumerated() {
            settings.believedMarks[try #require(DSCP(rawValue: UInt8(index * 10)))] = trafficClass
            settings.classMarks[trafficClass] = try #require(DSCP(rawValue: UInt8(63 - index)))
        }
        for (index, trafficClass) in QoSSettings.weightedClasses.enumerated() {
            settings.weights[trafficClass] = index + 1
        }
        settings.priorityPercent = 50
        settings.activationDeadlineMicroseconds = 2_500
        settings.outerMarking = .copy
        settings.marksInner = true
        settings.budget = .init(bytes: .max, tokens: 7, perSeconds: 3_600)
        settings.ceiling = .activation
        settings.peersCeiling = .token
        for (index, hex) in Samples.peerHex.enumerated() {
            settings.peers[try #require(PublicKey(hex: hex))] =
                index == 0
                ? .init()
                : .init(
                    link: .init(bitsPerSecond: 5_000_000), ceiling: .background,
                    outerMarking: QoSSettings.OuterMarking.allCases[index])
        }
        return settings
    }

    private func read(_ request: [UInt8]) throws -> QoSSettings {
        guard case .setQoS(let settings) = try UAPI.parse(request: request) else {
            throw Samples.Unexpected()
        }
        return settings
    }
}
