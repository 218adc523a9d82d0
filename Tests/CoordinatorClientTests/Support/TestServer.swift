import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A server on a free loopback port that answers every request as a test says, byte for byte.
final class TestServer: Sendable {
    /// What a request gets: pieces, a pause before each but the first, and whether the connection
    /// ends after them.
    struct Script: Sendable {
        var pieces: [String]
        var pauseMilliseconds: Int64 = 50
        var closes = true

        static func json(
            _ body: String, status: String = "200 OK", type: String = "application/json",
            fields: [String] = []
        ) -> Script {
            Script(
                pieces: [
                    head(
                        status,
                        ["content-type: \(type)", "content-length: \(body.utf8.count)"] + fields)
                        + body
                ], closes: false)
        }

        /// A body in pieces that ends with the connection.
        static func stream(
            _ pieces: [String], type: String = "application/x-ndjson",
            pauseMilliseconds: Int64 = 50, closes: Bool = true
        ) -> Script {
            let first = head("200 OK", ["content-type: \(type)", "connection: close"])
            return Script(
                pieces: [first] + pieces, pauseMilliseconds: pauseMilliseconds, closes: closes)
        }

        static func head(_ status: String, _ fields: [String]) -> String {
            "HTTP/1.1 \(status)\r\n" + fields.map { "\($0)\r\n" }.joined() + "\r\n"
        }
    }

    private let channel: any Channel
    /// Stays known when the server has stopped.
    let port: Int
    private let record: Record

    /// - Parameter certificate: `nil` for a server without TLS.
    init(
        _ certificate: ServerCertificate?, port: Int = 0,
        _ script: @escaping @Sendable (_ request: String) -> Script
    ) async throws {
        let tls = try certificate.map { certificate in
            try NIOSSLContext(
                configuration: .makeServerConfiguration(
                    certificateChain: [.certificate(certificate.certificate)],
                    privateKey: .privateKey(certificate.key)))
        }
        let record = Record()
        let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    record.connected()
                    let pipeline = channel.pipeline.syncOperations
                    if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: tls)) }
                    try pipeline.addHandler(
                        Responder(record: record, isText: tls != nil, script: script))
                }
            }
        channel = try await TestServer.bind(bootstrap, to: port)
        self.port = channel.localAddress?.port ?? 0
        self.record = record
    }

    /// Binds a port. One that was a server's just now may be in use for a moment more: a process
    /// that another test starts has copies of all sockets until it runs.
    private static func bind(
        _ bootstrap: ServerBootstrap, to port: Int
    ) async throws -> any Channel {
        for _ in 0..<(port == 0 ? 0 : 1_000) {
            if let bound = try? await bootstrap.bind(host: "127.0.0.1", port: port).get() {
                return bound
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        return try await bootstrap.bind(host: "127.0.0.1", port: port).get()
    }

    var url: String { "https://127.0.0.1:\(port)" }
    /// The requests so far, heads and bodies.
    var requests: [String] { record.requests }
    var connectionCount: Int { record.connectionCount }

    func stop() async throws {
        try await channel.close()
    }

    final class Record: Sendable {
        private let state = Mutex<(requests: [String], connections: Int)>(([], 0))

        var requests: [String] { state.withLock { $0.requests } }
        var connectionCount: Int { state.withLock { $0.connections } }
        func connected() { state.withLock { $0.connections += 1 } }
        func received(_ request: String) { state.withLock { $0.requests.append(request) } }
    }

    private final class Responder: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let record: Record
        /// Otherwise whatever comes is answered at once.
        private let isText: Bool
        private let script: @Sendable (String) -> Script
        private var pending = ""

        init(
            record: Record, isText: Bool, script: @escaping @Sendable (String) -> Script
        ) {
            self.record = record
            self.isText = isText
            self.script = script
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard isText else { return send(script(""), at: 0, to: context.channel) }
            pending += String(buffer: unwrapInboundIn(data))
            guard let end = pending.range(of: "\r\n\r\n") else { return }
            let head = pending[..<end.lowerBound].lowercased()
            let length = head.split(separator: "\r\n")
                .first { $0.hasPrefix("content-length:") }
                .flatMap { Int($0.dropFirst("content-length:".count).filter { $0 != " " }) }
            guard pending[end.upperBound...].utf8.count >= length ?? 0 else { return }
            let request = pending
            pending = ""
            record.received(request)
            send(script(request), at: 0, to: context.channel)
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            context.close(promise: nil)
        }

        private func send(_ script: Script, at index: Int, to channel: any Channel) {
            guard index < script.pieces.count else {
                if script.closes { channel.close(promise: nil) }
                return
            }
            channel.writeAndFlush(ByteBuffer(string: script.pieces[index]), promise: nil)
            let pause = index + 1 < script.pieces.count ? script.pauseMilliseconds : 0
            channel.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(pause)) {
                self.send(script, at: index + 1, to: channel)
            }
        }
    }
}
