import AccessControl
import Foundation
import Glibc
import PacketFormats
import PacketMemory
import TestSupport
import Testing

/// What a judged packet costs, printed where ACCESS_MEASUREMENT is set.
///
///     ACCESS_MEASUREMENT=1 swift test -c release --filter JudgeMeasurement
@Suite(.enabled(if: ProcessInfo.processInfo.environment["ACCESS_MEASUREMENT"] != nil))
struct JudgeMeasurement {
    static let nodeCount = 1_000
    static let groupCount = 100
    static let ruleCount = 200
    static let flowCount = 4_096

    private static func node(_ number: Int) -> IPAddress {
        IPAddress(ipv4: 0x0a40_0000 | UInt32(number))
    }

    private func rules(using random: inout SeededGenerator) -> AccessRules {
        func group() -> String { "group\(Int.random(in: 0..<Self.groupCount, using: &random))" }
        let members = (0..<Self.nodeCount).map { number in
            AccessRules.Member(
                prefix: IPPrefix(Self.node(number), length: 32)!, groups: [group(), group()])
        }
        let rules = (0..<Self.ruleCount).map { number in
            let port = UInt16(1_000 + number)
            return AccessRules.Rule(
                name: "rule\(number)", from: [group(), group()], to: [group()], transport: .tcp,
                ports: [port...port, 443...443])
        }
        return AccessRules(members: members, services: [], rules: rules)
    }

    @Test func nanosecondsPerPacket() {
        var random = SeededGenerator(seed: 1)
        let began = ContinuousClock.now
        let rules = rules(using: &random)
        let made = ContinuousClock.now
        let filter = AccessFilter(
            rules, state: AccessState(capacity: 1 << 14, key: (1, 2), now: 0))
        print("compiled in \(ContinuousClock.now - made), \(filter.byteCount) bytes;",
            "input in \(made - began)")
        var questions: [[UInt8]] = []
        while questions.count < Self.flowCount {
            let from = Self.node(Int.random(in: 0..<Self.nodeCount, using: &random))
            let to = Self.node(Int.random(in: 0..<Self.nodeCount, using: &random))
            let port = UInt16.random(in: 1_024..<60_000, using: &random)
            if filter.decide(from: .address(from), to: .address(to), .tcp, port: 443).isAllowed {
                questions.append(
                    Packets.tcp(from.description, to.description, port, 443, Packets.ack))
            }
        }
        let answers = questions.map { question in
            let sourcePort = UInt16(question[20]) << 8 | UInt16(question[21])
            func address(_ at: Int) -> String {
                question[at..<at + 4].map { "\($0)" }.joined(separator: ".")
            }
            return Packets.tcp(address(16), address(12), 443, sourcePort, Packets.ack)
        }
        let inwards = answers.map { answer in
            var answer = answer
            answer[20] ^= 0x40
            return answer
        }
        measure("question", questions, filter, .allowed)
        measure("answer", answers, filter, .allowed)
        measure("denied", inwards, filter, nil)
        let one = Array(questions.prefix(1))
        measure("question of one flow", one, filter, .allowed)
        measure("answer of one flow", Array(answers.prefix(1)), filter, .allowed)
    }

    /// Of this thread.
    private static var processorNanoseconds: Int {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }

    /// A change of one node among many, for which the rules are compiled anew.
    @Test func millisecondsToCompile() {
        var random = SeededGenerator(seed: 2)
        let all = (0..<10_000).map { number in
            let groups = (0..<2).map { _ in
                "group\(Int.random(in: 0..<Self.groupCount, using: &random))"
            }
            return AccessRules.Member(
                prefix: IPPrefix(Self.node(number), length: 32)!, groups: Set(groups))
        }
        let rules = AccessRules(members: all, services: [], rules: rules(using: &random).rules)
        let state = AccessState(capacity: 1 << 14, key: (1, 2), now: 0)
        let began = Self.processorNanoseconds
        let filter = AccessFilter(rules, state: state)
        let time = Self.processorNanoseconds - began
        print("10,000 nodes compiled in \(time / 1_000) us, \(filter.byteCount) bytes")
    }

    private func measure(
        _ name: String, _ packets: [[UInt8]], _ filter: AccessFilter, _ expected: AccessVerdict?
    ) {
        let slot = 64
        let arena = ByteArena(count: packets.count * slot)
        for (index, packet) in packets.enumerated() {
            for (offset, byte) in packet.enumerated() { arena.whole[index * slot + offset] = byte }
        }
        let rounds = 2_000_000 / packets.count
        var other = 0
        let began = Self.processorNanoseconds
        for round in 0..<rounds {
            for index in 0..<packets.count {
                let region = arena.whole.region(at: index * slot, count: slot)
                guard let packet = IPPacket(region) else { continue }
                let verdict = filter.judge(packet, now: 1_000_000_000_000 + UInt64(round) * 1_000)
                if verdict != expected { other += 1 }
            }
        }
        let time = Self.processorNanoseconds - began
        let count = rounds * packets.count
        print("\(name): \(time / count) ns, other verdicts \(other * 100 / count) %")
    }
}
