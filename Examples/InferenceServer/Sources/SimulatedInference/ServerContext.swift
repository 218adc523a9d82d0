import Hummingbird
import NIOCore

/// What the server keeps of one request besides the request.
struct ServerContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    private let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }

    /// Runs `action` once this request's client goes.
    func whenClientGone(_ action: @escaping @Sendable () -> Void) async throws {
        try await channel.pipeline.handler(type: ClientDeparture.self).get().whenGone(action)
    }
}
