import PacketFormats
import PacketMemory
import TestSupport
import Testing

@testable import InferenceTraffic

/// Services are found as a list read from its beginning would find them.
@Suite struct RulesTests {
    private func key(
        local: IPAddress, _ localPort: UInt16, remote: IPAddress, _ remotePort: UInt16,
        _ protocolNumber: UInt8 = 6
    ) -> FlowKey {
        let packet = TapPacket(
            source: 1, destination: 2, sourcePort: localPort, destinationPort: remotePort)
        return ByteArena.withCopy(of: [UInt8](repeating: 0, count: 100)) { region in
            let view = IPPacket(packet.write([], to: region))!
            var key = FlowKey(view, .outbound, tunnel: 0)
            key.localHigh = local.high
            key.localLow = local.low
            key.remoteHigh = remote.high
            key.remoteLow = remote.low
            key.isIPv4 = local.isIPv4
            key.protocolNumber = protocolNumber
            return key
        }
    }

    private func slowMatch(_ services: [ClassRules.Service], _ key: FlowKey) -> Int? {
        services.firstIndex { service in
            func holds(_ address: IPAddress, _ port: UInt16) -> Bool {
                guard service.destination.contains(address) else { return false }
                switch (service.transport, key.protocolNumber) {
                case (.tcp, 6), (.udp, 17), (.any, 6), (.any, 17):
                    return service.ports.isEmpty || service.ports.contains { $0.contains(port) }
                case (.any, _): return service.ports.isEmpty
                default: return false
                }
            }
            return holds(key.local, key.localPort) || holds(key.remote, key.remotePort)
        }
    }

    /// All of one network, each with as many ranges of ports as configurations may have.
    @Test func aThousandServicesWithSixtyFourRangesEachAgreeWithTheList() {
        var generator = SeededGenerator(seed: 64)
        let services = (0..<1_000).map { index in
            ClassRules.Service(
                name: "\(index)", destination: IPPrefix("10.9.0.0/16")!,
                transport: index % 3 == 0 ? .any : .tcp,
                ports: (0..<64).map { _ in
                    let start = UInt16.random(in: 0...65_000, using: &generator)
                    // Narrow ones first, so that many services are the first of some port.
                    return start...start + UInt16.random(in: 0...min(UInt16(index), 500),
                        using: &generator)
                },
                trafficClass: .bulk)
        }
        let lookup = ServiceLookup(services)
        // The model: whoever comes last is overwritten by those before it.
        for (transport, number) in [(ClassRules.Transport.tcp, UInt8(6)), (.udp, 17)] {
            var firsts = [UInt32](repeating: ServiceLookup.none, count: 65_536)
            for (index, service) in services.enumerated().reversed()
            where service.transport == transport || service.transport == .any {
                for range in service.ports {
                    for port in range { firsts[Int(port)] = UInt32(index) }
                }
            }
            let found = (0..<65_536).map {
                lookup.first(
                    high: 0, low: 0x0a09_0001, isIPv4: true, number, port: UInt16($0))
            }
            #expect(found == firsts)
            #expect(Set(firsts).count > 20)
        }
    }

    @Test(arguments: 1...20)
    func lookupsAgreeWithTheList(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        func address() -> IPAddress {
            generator.chance(percent: 70)
                ? IPAddress(ipv4: 0x0a00_0000 | UInt32.random(in: 0..<1_024, using: &generator))
                : IPAddress(high: 0xfd00 << 48, low: UInt64.random(in: 0..<256, using: &generator))
        }
        func port() -> UInt16 {
            let ports: [UInt16] = [0, 1, 79, 80, 81, 443, 8_000, 65_534, 65_535]
            return ports.randomElement(using: &generator)!
        }
        var services: [ClassRules.Service] = []
        for index in 0..<60 {
            let place = address()
            let length = Int.random(in: place.bitCount - 12...place.bitCount, using: &generator)
            var ranges: [ClosedRange<UInt16>] = []
            for _ in 0..<Int.random(in: 0...3, using: &generator) {
                let one = port()
                let two = port()
                ranges.append(min(one, two)...max(one, two))
            }
            let transports: [ClassRules.Transport] = [.tcp, .udp, .any]
            services.append(
                ClassRules.Service(
                    name: "service \(index)", destination: IPPrefix(place, length: length)!,
                    transport: transports.randomElement(using: &generator)!, ports: ranges,
                    trafficClass: TrafficClass.allCases.randomElement(using: &generator)))
        }
        let rules = ClassRules(services: services)
        for _ in 0..<1_000 {
            let local = address()
            var remote = address()
            while remote.isIPv4 != local.isIPv4 { remote = address() }
            let numbers: [UInt8] = [6, 17, 50]
            let key = key(
                local: local, port(), remote: remote, port(),
                numbers.randomElement(using: &generator)!)
            let expected = slowMatch(services, key)
            let found = rules.service(of: key)
            #expect(rules.serviceName(found.nameHash) == expected.map { services[$0].name })
            #expect(found.trafficClass == expected.flatMap { services[$0].trafficClass })
        }
    }

    @Test func marksAreToldApart() {
        var classes: [DSCP: TrafficClass] = [:]
        for value in stride(from: UInt8(0), to: 64, by: 2) {
            classes[DSCP(rawValue: value)!] = TrafficClass.allCases[Int(value) / 2 % 6]
        }
        let marks = MarkedClasses(classes)
        for value in UInt8(0)..<64 {
            let mark = DSCP(rawValue: value)!
            #expect(marks.trafficClass(mark) == classes[mark])
        }
        #expect(MarkedClasses([:]).isEmpty)
    }
}
