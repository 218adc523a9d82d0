import PacketFormats
import TestSupport
import Testing

@testable import InferenceTraffic

/// How many streams of tokens are found, and how much else is taken for one, without any header to
/// read: over jitter, loss, reordering and the beginnings that nobody saw.
@Suite struct RecognitionTests {
    struct Network {
        var jitterMilliseconds = 0.0
        var lossPercent = 0
        var reorderPercent = 0
        var seesBeginning = true
    }

    /// Sends by way of a network: some segments come late, some twice.
    private struct Sender {
        var generator: SeededGenerator
        var network: Network
        var connection: Connection

        mutating func send(
            _ tap: inout Tap, from end: Connection.End, count: Int
        ) {
            let sequence = end == .client
                ? connection.clientSequence : connection.serverSequence
            connection.advance(end, count)
            tap.wait(Double.random(in: 0...max(network.jitterMilliseconds, 0.01), using: &generator))
            let payload = [UInt8](repeating: 0x17, count: count)
            if generator.chance(percent: network.lossPercent) {
                // Lost before it came here: it comes again after a round trip.
                tap.wait(60)
            }
            _ = connection.pass(&tap, from: end, payload, sequence: sequence, flags: TCPField.ack)
            if generator.chance(percent: network.lossPercent) {
                tap.wait(1)
                _ = connection.pass(
                    &tap, from: end, payload, sequence: sequence, flags: TCPField.ack)
            }
        }

        /// Two segments, the second one first.
        mutating func sendSwapped(_ tap: inout Tap, from end: Connection.End, count: Int) {
            let first = end == .client ? connection.clientSequence : connection.serverSequence
            connection.advance(end, count * 2)
            let payload = [UInt8](repeating: 0x17, count: count)
            for sequence in [first &+ UInt32(count), first] {
                _ = connection.pass(
                    &tap, from: end, payload, sequence: sequence, flags: TCPField.ack)
                tap.wait(0.2)
            }
        }
    }

    enum Kind: String, CaseIterable {
        // Streams of tokens.
        case chat, fastChat, slowChat, agentAnswer, longPromptChat, secondQuestion
        // Others.
        case typing, shellOutput, upload, download, slowDownload, video, embeddings, requests,
            database, monitoring, pushes

        var isStream: Bool {
            switch self {
            case .chat, .fastChat, .slowChat, .agentAnswer, .longPromptChat, .secondQuestion: true
            default: false
            }
        }

        var port: UInt16 {
            switch self {
            case .typing, .shellOutput: 22
            case .database: 5_432
            default: 443
            }
        }
    }

    private func answer(
        _ tap: inout Tap, _ sender: inout Sender, prompt: Int, chunks: Int, gap: Double
    ) {
        var left = prompt
        while left > 0 {
            sender.send(&tap, from: .client, count: min(left, 14_000))
            left -= 14_000
            tap.wait(2)
        }
        tap.wait(Double.random(in: 80...1_500, using: &sender.generator))
        for _ in 0..<chunks {
            let size = Int.random(in: 90...400, using: &sender.generator)
            if sender.generator.chance(percent: sender.network.reorderPercent) {
                sender.sendSwapped(&tap, from: .server, count: size)
            } else {
                sender.send(&tap, from: .server, count: size)
            }
            sender.connection.acknowledge(&tap, from: .client)
            tap.wait(gap * Double.random(in: 0.6...1.4, using: &sender.generator))
        }
    }

    private func play(_ kind: Kind, _ tap: inout Tap, _ sender: inout Sender) {
        switch kind {
        case .chat: answer(&tap, &sender, prompt: 2_000, chunks: 150, gap: 20)
        case .fastChat: answer(&tap, &sender, prompt: 2_000, chunks: 300, gap: 5)
        case .slowChat: answer(&tap, &sender, prompt: 2_000, chunks: 40, gap: 120)
        case .agentAnswer: answer(&tap, &sender, prompt: 9_000, chunks: 12, gap: 30)
        case .longPromptChat: answer(&tap, &sender, prompt: 400_000, chunks: 100, gap: 25)
        case .secondQuestion:
            answer(&tap, &sender, prompt: 800, chunks: 3, gap: 20)
            tap.wait(3_000)
            answer(&tap, &sender, prompt: 1_600, chunks: 80, gap: 20)
        case .typing: exchange(&tap, &sender, count: 300, ask: 36, answer: 36, gap: 90)
        case .shellOutput: answer(&tap, &sender, prompt: 36, chunks: 200, gap: 30)
        case .upload: for _ in 0..<150 { bulk(&tap, &sender, .client, count: 28_000, gap: 3) }
        case .download:
            sender.send(&tap, from: .client, count: 300)
            for _ in 0..<150 { bulk(&tap, &sender, .server, count: 28_000, gap: 3) }
        case .slowDownload:
            sender.send(&tap, from: .client, count: 300)
            for _ in 0..<200 { bulk(&tap, &sender, .server, count: 1_400, gap: 12) }
        case .video:
            for _ in 0..<8 {
                sender.send(&tap, from: .client, count: 400)
                tap.wait(40)
                for _ in 0..<25 { bulk(&tap, &sender, .server, count: 42_000, gap: 6) }
                tap.wait(2_000)
            }
        case .embeddings: exchange(&tap, &sender, count: 60, ask: 9_000, answer: 14_000, gap: 30)
        case .requests: exchange(&tap, &sender, count: 200, ask: 500, answer: 900, gap: 25)
        case .database: exchange(&tap, &sender, count: 400, ask: 120, answer: 300, gap: 8)
        case .monitoring:
            for _ in 0..<50 { bulk(&tap, &sender, .server, count: 600, gap: 1_000) }
        case .pushes:
            for _ in 0..<40 { bulk(&tap, &sender, .server, count: 200, gap: 400) }
        }
    }

    private func exchange(
        _ tap: inout Tap, _ sender: inout Sender, count: Int, ask: Int, answer: Int, gap: Double
    ) {
        for _ in 0..<count {
            sender.send(&tap, from: .client, count: ask)
            tap.wait(15)
            sender.send(&tap, from: .server, count: answer)
            tap.wait(gap * Double.random(in: 0.5...1.5, using: &sender.generator))
        }
    }

    private func bulk(
        _ tap: inout Tap, _ sender: inout Sender, _ end: Connection.End, count: Int, gap: Double
    ) {
        sender.send(&tap, from: end, count: count)
        sender.connection.acknowledge(&tap, from: end == .client ? .server : .client)
        tap.wait(gap)
    }

    @Test func precisionAndRecallOverManyNetworks() throws {
        let networks = [
            Network(), Network(jitterMilliseconds: 4), Network(lossPercent: 2),
            Network(reorderPercent: 5), Network(seesBeginning: false),
            Network(
                jitterMilliseconds: 8, lossPercent: 3, reorderPercent: 3, seesBeginning: false),
        ]
        var found = 0
        var streams = 0
        var mistaken: [String] = []
        var missed: [String] = []
        for (number, network) in networks.enumerated() {
            for kind in Kind.allCases {
                for run in 0..<4 {
                    var tap = Tap(capacity: 8)
                    var connection = Connection(serverPort: kind.port)
                    connection.isClientHere = run % 2 == 0
                    if network.seesBeginning { connection.open(&tap) }
                    var sender = Sender(
                        generator: SeededGenerator(seed: UInt64(number * 100 + run)),
                        network: network, connection: connection)
                    play(kind, &tap, &sender)
                    let isFound = try sender.connection.record(tap).isTokenStream
                    let name = "\(kind.rawValue), network \(number), run \(run)"
                    if kind.isStream {
                        streams += 1
                        if isFound { found += 1 } else { missed.append(name) }
                    } else if isFound {
                        mistaken.append(name)
                    }
                }
            }
        }
        let recall = Double(found) / Double(streams)
        let precision = Double(found) / Double(max(found + mistaken.count, 1))
        print("by behaviour alone: precision \(precision), recall \(recall), streams \(streams)")
        #expect(recall >= 0.95, "\(missed)")
        #expect(precision >= 0.95, "\(mistaken)")
    }
}
