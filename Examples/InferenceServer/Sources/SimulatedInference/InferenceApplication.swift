public import Hummingbird
import HummingbirdCore
public import Logging
import NIOCore

/// The HTTP face of the simulated models.
public enum InferenceApplication {
    /// Puts the server together; run it as a service.
    /// - Parameters:
    ///   - host: Address or name to listen on, and only there.
    ///   - port: 0 for any that is free.
    ///   - onListening: Told the port once connections are accepted.
    public static func make(
        settings: ServerSettings, host: String, port: Int, logger: Logger,
        onListening: @escaping @Sendable (_ port: Int) -> Void = { _ in }
    ) -> some ApplicationProtocol {
        let configuration = HTTP1Channel.Configuration(
            additionalChannelHandlers: [ClientDeparture()],
            idleTimeout: idleConnectionTimeout)
        return Application(
            router: router(settings: settings),
            server: .http1(configuration: configuration),
            configuration: .init(
                address: .hostname(host, port: port), serverName: "simulated-inference",
                backlog: connectionBacklog),
            onServerRunning: { channel in onListening(channel.localAddress?.port ?? port) },
            logger: logger)
    }

    private static func router(settings: ServerSettings) -> Router<ServerContext> {
        let engine = InferenceEngine(settings: settings)
        let chat = ChatRoute(engine: engine)
        let embeddings = EmbeddingsRoute(engine: engine)
        let models = ModelsRoute(settings: settings)
        let router = Router(context: ServerContext.self)
        router.add(middleware: OpenAIErrorMiddleware())
        router.post("/v1/chat/completions") { request, context in
            try await chat.respond(to: request, context: context)
        }
        router.post("/v1/embeddings") { request, context in
            try await embeddings.respond(to: request, context: context)
        }
        router.get("/v1/models") { _, _ in try models.list() }
        router.get("/v1/models/:name") { _, context in
            try models.one(context.parameters.require("name"))
        }
        let transfers = TransferRoutes(seed: settings.seed)
        router.post("/v1/kv/blocks") { request, _ in try await transfers.swallow(request) }
        router.get("/v1/kv/blocks") { request, _ in try transfers.serve(request) }
        router.post("/v1/activations") { request, _ in try await transfers.exchange(request) }
        router.get("/health") { _, _ in HTTPResponse.Status.ok }
        router.get("/metrics") { _, _ in
            let page = engine.metrics.text(
                modelName: settings.chatModel, occupancy: engine.occupancy)
            return Response(
                status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
                body: .init(byteBuffer: ByteBuffer(string: page)))
        }
        return router
    }

    /// A client that keeps a connection without a request loses it after this.
    private static let idleConnectionTimeout = TimeAmount.seconds(75)
    /// Connections that may wait to be accepted.
    private static let connectionBacklog = 1024
}
