import Glibc
import LinuxNetworking

/// Reads commands from standard input and answers each with a line of JSON.
struct CommandLoop {
    let emulator: Emulator
    private var pendingInput: [UInt8] = []

    init(_ emulator: Emulator) {
        self.emulator = emulator
    }

    mutating func run() throws {
        try emulator.loop.add(
            STDIN_FILENO, token: Emulator.standardInputToken, events: .readable)
        answer(["peers": Double(emulator.peers.count)])
        while true {
            guard emulator.step(timeoutNanoseconds: Emulator.timerIntervalNanoseconds) else {
                continue
            }
            guard readInput() else { return }
            while let end = pendingInput.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: pendingInput[..<end], as: UTF8.self)
                pendingInput.removeSubrange(...end)
                if line == "quit" { return }
                carryOut(Command(line))
            }
        }
    }

    /// - Returns: `false` at the end of input.
    private mutating func readInput() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 4_096)
        let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe read(STDIN_FILENO, $0.baseAddress, $0.count)
        }
        guard count > 0 else { return false }
        pendingInput += buffer[..<count]
        return true
    }

    private func carryOut(_ command: Command) {
        let seconds = command.number("seconds") ?? 1
        let places = emulator.places(
            tenants: command.tenants ?? emulator.firstTenant...emulator.firstTenant,
            count: command.number("peers").map { Int($0) })
        let before = emulator.counts
        let began = Clock.monotonicNanoseconds()
        var result: [String: Double] = [:]
        switch command.name {
        case "handshake":
            let made = emulator.makeSessions(
                places: places, window: Int(command.number("window") ?? 64),
                patienceSeconds: command.number("patience") ?? 20)
            result = [
                "completed": Double(made.completed), "failed": Double(made.failed),
                "p50_ms": Self.quantile(made.latencies, 0.5),
                "p99_ms": Self.quantile(made.latencies, 0.99),
            ]
        case "renew":
            result["completed"] = Double(
                emulator.renewSessions(
                    places: places, window: Int(command.number("window") ?? 8), seconds: seconds))
        case "send":
            let shape = TrafficShape(
                packetBytes: command.number("size").map { Int($0) },
                flows: TrafficShape.Flows(rawValue: command.words["flows"] ?? "one") ?? .one)
            result["offered"] = Double(
                emulator.sendPackets(
                    places: places, shape: shape, rate: command.number("rate") ?? 0,
                    burst: Int(command.number("burst") ?? 1), seconds: seconds))
        case "flood":
            result["offered"] = Double(
                emulator.floodHandshakes(
                    places: places, isForged: command.words["kind"] == "forged",
                    rate: command.number("rate") ?? 0, seconds: seconds))
        case "idle":
            let end = began + UInt64(seconds * 1e9)
            while Clock.monotonicNanoseconds() < end {
                emulator.step(timeoutNanoseconds: Emulator.timerIntervalNanoseconds)
            }
        case "counts":
            let now = Clock.monotonicNanoseconds()
            result["sessions"] = Double(
                emulator.peers.count { $0.usableSession(now: now) != nil })
        default:
            print("{\"error\": \"no such command\"}")
            fflush(nil)
            return
        }
        let after = emulator.counts
        result["seconds"] = Double(Clock.monotonicNanoseconds() - began) / 1e9
        result["sent"] = Double(after.sentPackets - before.sentPackets)
        result["received"] = Double(after.receivedPackets - before.receivedPackets)
        result["initiations"] = Double(after.initiations - before.initiations)
        result["cookies"] = Double(after.cookies - before.cookies)
        result["strays"] = Double(after.strays - before.strays)
        result["send_failures"] = Double(after.sendFailures - before.sendFailures)
        answer(result)
    }

    private func answer(_ values: [String: Double]) {
        let fields = values.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }
        print("{\(fields.joined(separator: ", "))}")
        fflush(nil)
    }

    private static func quantile(_ ordered: [Double], _ fraction: Double) -> Double {
        ordered.isEmpty ? 0 : ordered[min(ordered.count - 1, Int(fraction * Double(ordered.count)))]
    }
}

/// `NAME KEY=VALUE ...`
struct Command {
    let name: String
    let words: [String: String]

    init(_ line: String) {
        let parts = line.split(separator: " ")
        name = parts.first.map { String($0) } ?? ""
        var words: [String: String] = [:]
        for part in parts.dropFirst() {
            let pair = part.split(separator: "=", maxSplits: 1)
            if pair.count == 2 { words[String(pair[0])] = String(pair[1]) }
        }
        self.words = words
    }

    func number(_ key: String) -> Double? { words[key].flatMap { Double($0) } }

    /// `0-99` or `3`.
    var tenants: ClosedRange<Int>? {
        guard let bounds = words["tenants"]?.split(separator: "-").compactMap({ Int($0) }),
            let first = bounds.first, let last = bounds.last, first <= last
        else { return nil }
        return first...last
    }
}
