import PathBenchmark

/// What a test has measured: printed as text, and encoded as JSON.
struct BenchReport: Encodable {
    struct Session: Encodable {
        let peer: String
        /// Of a node of a joined network.
        let peerName: String?
        let profile: String
        let cipher: String
        let postQuantum: Bool
        let mtu: Int?
        let endpoint: String?
        let receivedPackets: UInt64?
        let lostPackets: UInt64?
        let lossShare: Double?
    }

    struct RoundTrip: Encodable {
        let probeCount: Int
        let lostCount: Int
        let lossShare: Double
        let minSeconds: Double?
        let p50Seconds: Double?
        let p95Seconds: Double?
        let p99Seconds: Double?
        let maxSeconds: Double?
        let jitterSeconds: Double?

        init(_ trips: RoundTrips) {
            func seconds(_ nanoseconds: UInt64?) -> Double? { nanoseconds.map { Double($0) / 1e9 } }
            probeCount = trips.probeCount
            lostCount = trips.lostCount
            lossShare = trips.lossShare
            minSeconds = seconds(trips.times?.least)
            p50Seconds = seconds(trips.times?.p50)
            p95Seconds = seconds(trips.times?.p95)
            p99Seconds = seconds(trips.times?.p99)
            maxSeconds = seconds(trips.times?.most)
            jitterSeconds = seconds(trips.times?.jitter)
        }
    }

    struct Part: Encodable {
        let measuredSeconds: Double
        let bytes: UInt64?
        let bitsPerSecond: Double?
        let retransmissions: UInt64?
        let roundTrip: RoundTrip?

        init(measuredSeconds: Double, roundTrip: RoundTrips?) {
            self.measuredSeconds = measuredSeconds
            bytes = nil
            bitsPerSecond = nil
            retransmissions = nil
            self.roundTrip = roundTrip.map(RoundTrip.init)
        }

        init(_ transfer: TestMessage.Transfer, _ roundTrip: RoundTrips?) {
            measuredSeconds = Double(transfer.nanoseconds) / 1e9
            bytes = transfer.byteCount
            bitsPerSecond = transfer.bitsPerSecond
            retransmissions = transfer.retransmissions
            self.roundTrip = roundTrip.map(RoundTrip.init)
        }
    }

    let host: String
    let address: String
    let port: UInt16
    let interface: String
    let streamCount: Int
    let partSeconds: Int
    /// Whether every part that was asked for was measured to its end.
    var isComplete = false
    var session: Session?
    var idle: Part?
    var up: Part?
    var down: Part?

    init(
        host: String, address: String, port: UInt16, interface: String, streamCount: Int,
        partSeconds: Int
    ) {
        self.host = host
        self.address = address
        self.port = port
        self.interface = interface
        self.streamCount = streamCount
        self.partSeconds = partSeconds
    }

    var hasFigures: Bool { idle != nil || up != nil || down != nil }
}

extension BenchReport {
    var text: String {
        var table = TextTable(
            header: [
                "", "RATE", "SENT AGAIN", "RTT P50", "P95", "P99", "MAX", "JITTER", "LOSS",
                "MEASURED",
            ])
        for (name, part) in [("idle", idle), ("up", up), ("down", down)] {
            if let part { table.append([name] + part.columns) }
        }
        return Text.plain(
            (facts + [""] + table.lines(indentation: 2)).joined(separator: "\n")) + "\n"
    }

    private var facts: [String] {
        let where_ = host == address ? address : "\(host) (\(address))"
        let streams = "\(streamCount) stream\(streamCount == 1 ? "" : "s")"
        var facts = ["\(Text.line(where_)) by \(interface), \(streams)"]
        guard let session else {
            return facts + ["  session    known to root only; run with sudo to see it"]
        }
        let words = [
            session.peerName.map(Text.line) ?? String(session.peer.prefix(10)),
            "profile \(session.profile)", session.cipher,
            session.postQuantum ? "post-quantum" : nil, session.mtu.map { "MTU \($0)" },
        ]
        facts.append("  session    " + words.compactMap(\.self).joined(separator: ", "))
        if let received = session.receivedPackets, let lost = session.lostPackets {
            facts.append(
                "  path       \(session.endpoint ?? "no endpoint"); before this test \(received) "
                    + "packets received, \(lost) lost (\(Text.percent(session.lossShare)))")
        }
        return facts
    }
}

extension BenchReport.Part {
    fileprivate var columns: [String] {
        [
            bitsPerSecond.map { Text.rate($0) } ?? "-",
            retransmissions.map(String.init) ?? "-",
            Text.time(seconds: roundTrip?.p50Seconds), Text.time(seconds: roundTrip?.p95Seconds),
            Text.time(seconds: roundTrip?.p99Seconds), Text.time(seconds: roundTrip?.maxSeconds),
            Text.time(seconds: roundTrip?.jitterSeconds), Text.percent(roundTrip?.lossShare),
            "\(Text.decimal(measuredSeconds, 1)) s",
        ]
    }
}
