import NIOCore

/// Bounds the bytes of a request's head, whatever the parser would still take.
///
/// The parser bounds header fields, but neither the request line nor what comes before it. Sits
/// between TLS and the parser.
final class HeadBound: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let connection: ClientConnection
    private let headBytesMax: Int
    private var headBytes = 0
    private var isRefused = false

    init(connection: ClientConnection, headBytesMax: Int) {
        self.connection = connection
        self.headBytesMax = headBytesMax
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isRefused else { return }
        if connection.isBeforeHead {
            if headBytes == 0 { connection.headBegan() }
            headBytes += unwrapInboundIn(data).readableBytes
        }
        context.fireChannelRead(data)
        guard connection.isBeforeHead else {
            headBytes = 0
            return
        }
        if headBytes > headBytesMax { refuse(context) }
    }

    private func refuse(_ context: ChannelHandlerContext) {
        isRefused = true
        let body = Self.problem
        let head = """
            HTTP/1.1 431 Request Header Fields Too Large\r
            content-type: application/problem+json\r
            content-length: \(body.utf8.count)\r
            connection: close\r
            \r

            """
        context.writeAndFlush(NIOAny(ByteBuffer(string: head + body)), promise: nil)
        connection.linger()
    }

    private static let problem = """
        {"detail":"The head of a request may have 16 KiB.","reason":"invalid_request",\
        "status":431,"title":"Invalid request"}
        """
}
