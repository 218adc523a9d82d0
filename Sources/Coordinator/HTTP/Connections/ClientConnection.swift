import NIOCore
import NIOHTTP1
import Telemetry

/// One client's connection on its event loop: which part of a request it is in, and until when it
/// may stay there.
///
/// Sits behind the HTTP parser. Every phase has a deadline, which `LoopConnections` looks at twice
/// a second: a client can be slow with its head, its body or with reading the answer, but not for
/// long. A watch stream has one only while the client leaves unread what is there for it.
final class ClientConnection: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    enum Phase: Hashable {
        /// Between connecting, or the first byte, and the end of a request's head.
        case head
        case body
        /// The request is here, the answer is not written.
        case answering
        case idle
        /// Refused: read for a moment, so that the answer arrives.
        case lingering
        case watching
    }

    let address: ClientAddress
    /// Whether the request came as HTTP/1.1, which alone has chunks.
    private(set) var isChunkable = true
    private(set) var phase = Phase.head
    /// Of the clock that the loops use, in nanoseconds.
    private(set) var deadline: Int64
    private(set) var watcher: Watcher?

    let loop: LoopConnections
    private let limits: HTTPLimits
    private var context: ChannelHandlerContext?
    /// Of the HTTP encoder, while watching.
    private var encoder: ChannelHandlerContext?
    private var isBodyRead = true
    private var isLast = false
    private var isCounted = true

    init(address: ClientAddress, loop: LoopConnections) {
        self.address = address
        self.loop = loop
        limits = loop.limits
        deadline = LoopConnections.now + limits.headSeconds * LoopConnections.second
    }

    var isBeforeHead: Bool { phase == .head || phase == .idle }

    /// The first byte of a head is here.
    func headBegan() { enter(.head, for: limits.headSeconds) }

    func linger() { enter(.lingering, for: limits.lingerSeconds) }

    /// What happens at the deadline.
    func expire() {
        guard let context else { return }
        // Closing takes a moment, which the next looks at the deadline are not to count.
        deadline = .max
        if phase != .idle, phase != .lingering { loop.counters.add(.slowConnections) }
        if phase == .body {
            // Whoever reads the body gets the error and can still answer.
            linger()
            context.fireErrorCaught(BodyFault.timedOut)
        } else {
            context.close(promise: nil)
        }
    }

    // MARK: Watching

    /// From now on the connection belongs to a watch stream.
    ///
    /// - Returns: `false` if there are too many streams or the connection is gone.
    func beginWatch(_ watcher: Watcher) -> Bool {
        guard let context, context.channel.isActive, phase != .watching,
            let encoder = try? context.pipeline.syncOperations.context(
                handlerType: HTTPResponseEncoder.self),
            loop.counts.beginWatch(address)
        else { return false }
        phase = .watching
        deadline = .max
        self.encoder = encoder
        self.watcher = watcher
        return true
    }

    func endWatch() {
        guard phase == .watching else { return }
        watcher = nil
        encoder = nil
        isCounted = false
        loop.counts.endWatch()
        linger()
    }

    var isWatching: Bool { phase == .watching }

    /// Writes bytes that are framed as chunks already, past the HTTP encoder: one buffer for all
    /// watchers, one TLS record.
    ///
    /// - Returns: `false` if the client does not keep up, and nothing was written.
    func writeFramed(_ buffer: ByteBuffer) -> Bool {
        guard let encoder, encoder.channel.isWritable else { return false }
        encoder.write(NIOAny(buffer), promise: nil)
        return true
    }

    func flush() { context?.flush() }

    /// Tells a client that asked first that its body is welcome. RFC 9110, section 10.1.1.
    func sendContinue() {
        guard let context, phase == .body else { return }
        let head = HTTPResponseHead(version: .http1_1, status: .continue)
        context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
    }

    // MARK: ChannelHandler

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        loop.add(self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        leave()
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        leave()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): received(head)
        case .body: break
        case .end:
            isBodyRead = true
            if phase == .body { enter(.answering, for: nil) }
        }
        context.fireChannelRead(data)
    }

    func write(
        context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?
    ) {
        switch unwrapOutboundIn(data) {
        case .head(var head) where head.status.code >= 200 && (isLast || !isBodyRead):
            // Where the answer comes before the request was read, nothing can follow.
            isLast = true
            head.headers.replaceOrAdd(name: "connection", value: "close")
            renewAnswerDeadline()
            return context.write(wrapOutboundOut(.head(head)), promise: promise)
        case .head, .body:
            // Writers wait until the channel takes more, so every part is progress.
            renewAnswerDeadline()
        case .end where isLast && isBodyRead && phase != .watching:
            context.writeAndFlush(data).assumeIsolated().whenComplete { _ in
                promise?.succeed()
                context.close(promise: nil)
            }
            return
        case .end:
            if phase != .watching { isLast ? linger() : enter(.idle, for: limits.idleSeconds) }
        }
        context.write(data, promise: promise)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if phase == .watching {
            let seconds = limits.responseSeconds * LoopConnections.second
            deadline = context.channel.isWritable ? .max : LoopConnections.now + seconds
        }
        if context.channel.isWritable { watcher?.becameWritable() }
        context.fireChannelWritabilityChanged()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // A client that has sent all it will send does not watch any more.
        if case .some(.inputClosed) = event as? ChannelEvent, phase == .watching {
            context.close(promise: nil)
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func received(_ head: HTTPRequestHead) {
        isChunkable = head.version == .http1_1
        if !head.isKeepAlive { isLast = true }
        isBodyRead = false
        guard phase != .watching, phase != .lingering else { return }
        let length = head.headers.first(name: "content-length").flatMap { Int($0) } ?? 0
        enter(
            .body,
            for: length > limits.bodyBytesMax ? limits.revocationBodySeconds : limits.bodySeconds)
    }

    private func enter(_ phase: Phase, for seconds: Int64?) {
        guard self.phase != .watching || phase == .lingering else { return }
        guard self.phase != .lingering else { return }
        self.phase = phase
        deadline = seconds.map { LoopConnections.now + $0 * LoopConnections.second } ?? .max
    }

    private func renewAnswerDeadline() {
        if phase == .answering { enter(.answering, for: limits.responseSeconds) }
    }

    private func leave() {
        guard loop.remove(self) else { return }
        if let watcher {
            self.watcher = nil
            encoder = nil
            phase = .lingering
            loop.counts.endWatch()
            watcher.connectionClosed()
        } else if isCounted {
            loop.counts.close(address)
        }
    }
}

/// Why a request's body could not be read.
enum BodyFault: Error, Hashable {
    case timedOut
    case tooLarge
    case brokenOff
}
