import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOSSL
import Telemetry

/// How a connection is set up: limits, TLS, HTTP/1.1, deadlines.
///
/// Hummingbird's own TLS channel keeps outbound buffers at the size of the largest answer, for as
/// long as a connection lives. A gateway's first event can be megabytes, its stream lives for
/// days; so this one sets a bound.
struct CoordinatorChannel: ServerChildChannel {
    private let http: HTTP1Channel
    private let tls: TLSContexts
    private let loops: HTTPLoops
    private let limits: HTTPLimits

    init(
        responder: @escaping HTTPChannelHandler.Responder, tls: TLSContexts, loops: HTTPLoops,
        limits: HTTPLimits
    ) {
        http = HTTP1Channel(
            responder: responder,
            configuration: .init(
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: limits.headBytesMax, maxHeaderListSize: limits.headBytesMax,
                    maxHeaderFieldCount: limits.headerFieldsMax)))
        self.tls = tls
        self.loops = loops
        self.limits = limits
    }

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<HTTP1Channel.Value> {
        let address = ClientAddress(channel.remoteAddress)
        guard let loop = loops.connections(on: channel.eventLoop), loop.counts.open(address) else {
            loops.counters.add(.refusedConnections)
            channel.close(promise: nil)
            return channel.eventLoop.makeFailedFuture(TooManyConnections())
        }
        let connection = ClientConnection(address: address, loop: loop)
        do {
            // Small reads: a request is small, and ten thousand connections wait for one.
            try channel.syncOptions?.setOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(
                    minimum: 1024, initial: 2048, maximum: 64 << 10))
            try channel.syncOptions?.setOption(.maxMessagesPerRead, value: 2)
            try channel.syncOptions?.setOption(.tcpOption(.tcp_nodelay), value: 1)
            let pipeline = channel.pipeline.syncOperations
            var configuration = NIOSSLHandler.Configuration()
            configuration.maximumPreservedOutboundBufferCapacity = Self.preservedBytes
            try pipeline.addHandler(
                NIOSSLServerHandler(
                    context: tls.current, customVerificationCallback: nil,
                    configuration: configuration))
            try pipeline.addHandler(
                HeadBound(connection: connection, headBytesMax: limits.headBytesMax))
        } catch {
            loop.counts.close(address)
            channel.close(promise: nil)
            return channel.eventLoop.makeFailedFuture(error)
        }
        let bound = NIOLoopBound(connection, eventLoop: channel.eventLoop)
        return http.setup(channel: channel, logger: logger).flatMapThrowing { value in
            let pipeline = channel.pipeline.syncOperations
            let parser = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
            try pipeline.addHandler(bound.value, position: .after(parser))
            return value
        }
    }

    func handle(value: HTTP1Channel.Value, logger: Logger) async {
        await http.handle(value: value, logger: logger)
    }

    private struct TooManyConnections: Error {}

    private static var preservedBytes: Int { 4096 }
}
