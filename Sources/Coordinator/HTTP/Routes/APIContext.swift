import Hummingbird
import Logging
import NIOCore

/// What Hummingbird knows of a request besides its head and body: the connection.
struct APIContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel
    let client: ClientAddress

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
        client = ClientAddress(source.channel.remoteAddress)
    }
}
