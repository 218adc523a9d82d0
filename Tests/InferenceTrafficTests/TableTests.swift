import CAllocationCounter
import Glibc
import PacketFormats
import TestSupport
import Testing

@testable import InferenceTraffic

/// Who has a place in the table, and what it costs.
@Suite struct TableTests {
    @Test func aFloodOfOneTunnelDisplacesItsOwnFlowsOnly() throws {
        var tap = Tap(capacity: 1_000)
        var victims = (0..<100).map { index in
            var connection = Connection(clientPort: UInt16(1_000 + index))
            connection.tunnel = 3
            return connection
        }
        for index in victims.indices { victims[index].open(&tap) }
        for index in 0..<20_000 {
            var hostile = Connection(clientPort: UInt16(index % 50_000))
            hostile.client = 0x0a00_0000 | UInt32(index)
            hostile.tunnel = 9
            _ = hostile.pass(&tap, from: .client, [], flags: TCPField.syn)
        }
        #expect(tap.table.flowCount(of: 3) == 100)
        #expect(tap.table.evictedCount(of: 3) == 0)
        #expect(tap.table.flowCount(of: 9) == 900)
        #expect(tap.table.evictedCount(of: 9) == 19_100)
        for victim in victims { #expect(try victim.record(tap).phase == .idle) }
    }

    @Test func whoComesLaterTakesItsShareFromWhoHasMost() {
        var tap = Tap(capacity: 1_000)
        for tunnel in [1, 2, 3, 4] {
            for index in 0..<2_000 {
                var connection = Connection(clientPort: UInt16(index))
                connection.tunnel = tunnel
                _ = connection.pass(&tap, from: .client, [], flags: TCPField.syn)
            }
        }
        #expect(tap.table.count == 1_000)
        // The first had all, and gave; nobody has less than a quarter, as all could have.
        for tunnel in [1, 2, 3, 4] { #expect(tap.table.flowCount(of: tunnel) == 250) }
    }

    @Test func whatIsInUseStaysAndTheOldestGoes() throws {
        var tap = Tap(capacity: 100)
        var live = Connection(clientPort: 9)
        live.open(&tap)
        for index in 0..<1_000 {
            tap.wait(20)
            live.send(&tap, from: .server, count: 100)
            let other = Connection(clientPort: UInt16(10_000 + index))
            _ = other.pass(&tap, from: .client, [], flags: TCPField.syn)
        }
        #expect(try live.record(tap).bytesIn == 100_000)
        #expect(throws: NoSuchFlow.self) {
            try Connection(clientPort: 10_900).record(tap)
        }
        #expect(try Connection(clientPort: 10_901).record(tap).bytesIn == 0)
    }

    @Test func connectionsThatAreOverGoFirst() throws {
        var tap = Tap(capacity: 3)
        var old = Connection(clientPort: 1)
        var closed = Connection(clientPort: 2)
        old.open(&tap)
        tap.wait(100)
        closed.open(&tap)
        closed.close(&tap)
        var third = Connection(clientPort: 3)
        third.open(&tap)
        var fourth = Connection(clientPort: 4)
        fourth.open(&tap)
        #expect(try old.record(tap).phase == .idle)
        #expect(throws: NoSuchFlow.self) { try closed.record(tap) }
    }

    /// Ends without end hide nothing that ended before, nor what is silent.
    @Test func connectionsThatAreOverAreForgottenWhileOthersComeAndGo() {
        var tap = Tap(capacity: 10_000)
        for index in 0..<4_000 {
            var connection = Connection(clientPort: UInt16(index))
            connection.open(&tap)
            connection.close(&tap)
            tap.wait(50)
        }
        // Those of the last ten seconds.
        #expect(tap.table.count <= 202)
        var datagram = TapPacket(
            source: 1, destination: 2, sourcePort: 1, destinationPort: 53, protocolNumber: 17)
        for port in UInt16(1)...10 {
            datagram.sourcePort = port
            _ = tap.pass(datagram, [1], direction: .outbound)
        }
        for index in 4_000..<11_000 {
            var connection = Connection(clientPort: UInt16(index))
            connection.open(&tap)
            connection.close(&tap)
            tap.wait(50)
        }
        #expect(tap.table.count <= 202)
    }

    /// Some ended and go on sending: they stay, and keep nobody else.
    @Test func whoSendsAfterItsEndKeepsNoOtherInPlace() throws {
        var tap = Tap(capacity: 10_000)
        var reset = Connection(clientPort: 60_000)
        reset.open(&tap)
        _ = reset.pass(&tap, from: .client, [], flags: TCPField.rst)
        for index in 0..<4_000 {
            if index % 180 == 0 { reset.acknowledge(&tap, from: .client) }
            var connection = Connection(clientPort: UInt16(index))
            connection.open(&tap)
            connection.close(&tap)
            tap.wait(50)
        }
        #expect(tap.table.count <= 203)
        #expect(try reset.record(tap).phase == .idle)
    }

    @Test func samePortsAgainAreNotOver() throws {
        var tap = Tap(capacity: 100)
        var again = Connection(clientPort: 60_000)
        again.open(&tap)
        again.close(&tap)
        again.clientSequence = 77
        again.open(&tap)
        for index in 0..<1_000 {
            tap.wait(50)
            var connection = Connection(clientPort: UInt16(index))
            connection.open(&tap)
            connection.close(&tap)
            if index % 10 == 0 { again.send(&tap, from: .client, count: 10) }
        }
        #expect(try again.record(tap).bytesOut == 1_000)
    }

    @Test func silentFlowsAreForgotten() {
        var tap = Tap(capacity: 100)
        var datagram = TapPacket(
            source: 1, destination: 2, sourcePort: 1, destinationPort: 53, protocolNumber: 17)
        for port in UInt16(1)...10 {
            datagram.sourcePort = port
            _ = tap.pass(datagram, [1], direction: .outbound)
        }
        tap.wait(300_001)
        for port in UInt16(11)...20 {
            datagram.sourcePort = port
            _ = tap.pass(datagram, [1], direction: .outbound)
        }
        #expect(tap.table.count == 10)
        #expect(tap.table.evictedCount(of: 0) == 0)
    }

    @Test func samePortsAgainAreAnotherConnection() throws {
        var tap = Tap()
        var connection = Connection()
        connection.open(&tap)
        connection.send(&tap, from: .client, count: 60_000)
        connection.close(&tap)
        tap.wait(5)
        connection.clientSequence = 77
        connection.open(&tap)
        #expect(connection.send(&tap, from: .client, count: 100).trafficClass == .token)
        #expect(tap.table.count == 1)
        #expect(try connection.record(tap).bytesOut == 100)
    }

    @Test func peersAreForgottenManyAtOnce() throws {
        var tap = Tap()
        var connections = (0..<40).map { Connection(clientPort: UInt16(1_000 + $0)) }
        for index in connections.indices {
            connections[index].peer = Int32(index)
            connections[index].open(&tap)
            if index % 3 == 0 { connections[index].close(&tap) }
        }
        let removed = Set((Int32(0)..<40).filter { $0 % 2 == 0 })
        tap.table.remove(peers: removed, of: 0)
        for connection in connections {
            let peer = connection.peer
            #expect(try connection.record(tap).peer == (removed.contains(peer) ? -1 : peer))
        }
    }

    /// A report is made between packets: it looks at the latest flows only.
    @Test func aReportIsBounded() {
        var tap = Tap(capacity: 10_000)
        for index in 0..<6_000 {
            Connection(clientPort: UInt16(10_000 + index)).acknowledge(&tap, from: .client)
        }
        func ports(_ filter: FlowFilter, limit: Int) -> [UInt16] {
            tap.table.flows(of: 0, matching: filter, limit: limit, rules: tap.rules, now: tap.now)
                .map(\.clientPort)
        }
        #expect(ports(FlowFilter(), limit: .max).count == 4_096)
        #expect(Set(ports(FlowFilter(), limit: 3)) == [15_999, 15_998, 15_997])
        #expect(ports(FlowFilter(port: 16_000 - 4_096), limit: 1).count == 1)
        #expect(ports(FlowFilter(port: 16_000 - 4_097), limit: 1).isEmpty)
        #expect(ports(FlowFilter(), limit: 0).isEmpty)
    }

    @Test func tunnelsWithTheSameAddressesAreApart() throws {
        var tap = Tap()
        var one = Connection()
        var two = Connection()
        two.tunnel = 1
        let first = one.send(&tap, from: .client, count: 10)
        let second = two.send(&tap, from: .client, count: 20)
        #expect(first.flow != second.flow)
        #expect(try one.record(tap).bytesOut == 10)
        #expect(try two.record(tap).bytesOut == 20)
        tap.table.remove(tunnel: 0)
        #expect(tap.table.flowCount(of: 0) == 0)
        #expect(tap.table.flowCount(of: 1) == 1)
        #expect(tap.table.count == 1)
        tap.table.remove(tunnel: 5)
        tap.table.remove(tunnel: -1)
    }

    @Test func tunnelNumbersOutOfRangeAreNotTracked() {
        var tap = Tap()
        var connection = Connection()
        for tunnel in [-1, 1 << 16, Int.max] {
            connection.tunnel = tunnel
            #expect(connection.send(&tap, from: .client, count: 10).trafficClass == .prompt)
        }
        #expect(tap.table.count == 0)
        connection.tunnel = (1 << 16) - 1
        connection.send(&tap, from: .client, count: 10)
        #expect(tap.table.count == 1)
    }

    /// Any order of comings and goings keeps lists and counts consistent.
    @Test(arguments: 1...5)
    func comingsAndGoingsKeepTheBooks(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        var tap = Tap(capacity: 64)
        for _ in 0..<5_000 {
            var connection = Connection(
                clientPort: UInt16.random(in: 0..<100, using: &generator))
            connection.tunnel = Int.random(in: 0..<5, using: &generator)
            connection.clientSequence = UInt32(truncatingIfNeeded: generator.next())
            let flags = UInt8(truncatingIfNeeded: generator.next())
            _ = connection.pass(
                &tap, from: generator.chance(percent: 50) ? .client : .server,
                [UInt8](repeating: 0, count: Int.random(in: 0..<50, using: &generator)),
                flags: flags)
            if generator.chance(percent: 1) {
                tap.table.remove(tunnel: Int.random(in: 0..<5, using: &generator))
            }
            tap.wait(Double(Int.random(in: 0..<4_000, using: &generator)))
        }
        var sum = 0
        for tunnel in 0..<5 {
            let listed = tap.table.flows(
                of: tunnel, matching: FlowFilter(), limit: .max, rules: tap.rules, now: tap.now)
            #expect(listed.count == tap.table.flowCount(of: tunnel))
            #expect(listed.map(\.idleNanoseconds) == listed.map(\.idleNanoseconds).sorted())
            sum += listed.count
        }
        #expect(sum == tap.table.count)
        #expect(sum <= 64)
    }

    @Test func aFlowIsSmall() {
        let bytes = MemoryLayout<Flow>.stride
        print("bytes of a flow: \(bytes), with its part of the index \(bytes + 6)")
        #expect(bytes + 8 <= 640)
    }

    @Test func aHundredThousandFlowsFitAndMemoryIsUsedAsTheyCome() throws {
        let before = ResidentMemory.bytes
        var tap = Tap(capacity: 100_000)
        let made = ResidentMemory.bytes - before
        for index in 0..<100_000 {
            var connection = Connection(clientPort: UInt16(index % 60_000))
            connection.client = 0x0a00_0000 | UInt32(index / 60_000)
            connection.send(&tap, from: .client, [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])
        }
        let used = ResidentMemory.bytes - before
        print("100,000 flows: \(made) bytes at first, \(used) bytes in the end")
        #expect(tap.table.count == 100_000)
        #expect(made < 8_000_000)
        #expect(used < 64_000_000)
    }

    @Test func nothingAllocatesForAPacket() {
        var tap = Tap(capacity: 2_000)
        var services: [ClassRules.Service] = []
        for index in 0..<1_000 {
            let place = IPAddress(ipv4: 0x0a09_0000 | UInt32(index))
            services.append(
                ClassRules.Service(
                    name: "service \(index)", destination: IPPrefix(place, length: 32)!,
                    transport: .any, ports: [1...1_000, 9_000...9_100], trafficClass: .prompt))
        }
        tap.rules = ClassRules(services: services, believedMarks: [.af21: .token])
        var connections = (0..<50).map { Connection(clientPort: UInt16(2_000 + $0)) }
        let payload = [UInt8](repeating: 1, count: 300)
        let frame = [UInt8](repeating: 1, count: 50_000)
        func pass(_ tap: inout Tap, _ connections: inout [Connection]) {
            for round in 0..<40 {
                for index in connections.indices {
                    connections[index].client &+= round % 10 == 0 ? 1 : 0
                    connections[index].send(&tap, from: .client, payload)
                    connections[index].send(&tap, from: .server, round % 3 == 0 ? frame : payload)
                    connections[index].acknowledge(&tap, from: .client)
                }
                tap.wait(20)
            }
        }
        pass(&tap, &connections)
        let before = allocations_of_this_thread()
        pass(&tap, &connections)
        let count = allocations_of_this_thread() - before
        print("allocations of 6,000 packets: \(count)")
        #if DEBUG
        print("skipped: allocations of table accesses are counted in release builds")
        #else
        #expect(count == 0)
        #endif
    }
}

/// What the kernel says of this program's memory.
enum ResidentMemory {
    /// proc_pid_statm(5): the second number, in pages.
    static var bytes: Int {
        guard let file = unsafe fopen("/proc/self/statm", "r") else { return 0 }
        defer { unsafe fclose(file) }
        var buffer = [UInt8](repeating: 0, count: 200)
        let count = unsafe fread(&buffer, 1, buffer.count, file)
        let words = String(decoding: buffer.prefix(count), as: UTF8.self).split(separator: " ")
        return words.count > 1 ? (Int(words[1]) ?? 0) * 4_096 : 0
    }
}
