import Cryptography
import PacketFormats
import WireGuardConfiguration

/// A flow as JSON has it, whichever command prints it.
struct FlowObject: Encodable {
    let client: String
    let clientPort: UInt16
    let server: String
    let serverPort: UInt16
    let transport: String
    let peer: String?
    let peerName: String?
    let service: String?
    let trafficClass: String
    let evidence: String
    let confidence: Int
    let detail: String
    /// What held the class down.
    let limit: String?
    let phase: String
    let isTokenStream: Bool
    let ageSeconds: Double
    let idleSeconds: Double
    let bytesOut: UInt64
    let bytesIn: UInt64
    let requests: UInt64
    let chunks: UInt64
    let stalls: UInt64
    let retransmissions: UInt64
    let firstChunkSeconds: Double?
    let interChunkSeconds: Double?
    let interChunkMaxSeconds: Double?

    init(_ flow: FlowReport, names: [String: String]) {
        client = flow.client.description
        clientPort = flow.clientPort
        server = flow.server.description
        serverPort = flow.serverPort
        transport = flow.transport
        peer = flow.peer?.base64
        peerName = flow.peer.flatMap { names[$0.base64] }
        service = flow.service
        trafficClass = flow.trafficClass.name
        evidence = flow.evidence.rawValue
        confidence = flow.confidence
        detail = flow.detail
        limit = flow.limit
        phase = flow.phase.rawValue
        isTokenStream = flow.isTokenStream
        ageSeconds = Double(flow.ageNanoseconds) / 1e9
        idleSeconds = Double(flow.idleNanoseconds) / 1e9
        bytesOut = flow.bytesOut
        bytesIn = flow.bytesIn
        requests = flow.requests
        chunks = flow.chunks
        stalls = flow.stalls
        retransmissions = flow.retransmissions
        firstChunkSeconds = flow.firstChunkNanoseconds.map { Double($0) / 1e9 }
        interChunkSeconds = flow.interChunkNanoseconds.map { Double($0) / 1e9 }
        interChunkMaxSeconds = flow.interChunkMaxNanoseconds.map { Double($0) / 1e9 }
    }

    /// What `--help` says of it.
    static let jsonHelp = """
        client, client_port, server, server_port, transport, peer, peer_name, service, \
        traffic_class, evidence, confidence (0 to 100), detail, limit, phase (request, waiting, \
        streaming, idle), is_token_stream, age_seconds, idle_seconds, bytes_out, bytes_in, \
        requests, chunks, stalls, retransmissions, first_chunk_seconds, inter_chunk_seconds \
        (smoothed) and inter_chunk_max_seconds
        """
}

extension FlowReport {
    /// `10.0.0.2:51000 → 10.9.0.5:443`: from the client to the server.
    var ends: String {
        "\(Endpoint(address: client, port: clientPort)) → "
            + "\(Endpoint(address: server, port: serverPort))"
    }

    var transport: String {
        switch protocolNumber {
        case 6: "tcp"
        case 17: "udp"
        default: String(protocolNumber)
        }
    }
}
