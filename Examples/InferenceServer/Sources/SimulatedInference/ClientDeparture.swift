import NIOCore
import Synchronization

/// Tells whoever works for a connection's client that the client has gone.
///
/// HTTP itself shows this only when a write fails, which a long prefill or a place in the queue
/// puts off. A client that closes its sending side counts as gone.
final class ClientDeparture: ChannelInboundHandler, RemovableChannelHandler, Sendable {
    typealias InboundIn = NIOAny
    typealias InboundOut = NIOAny

    private enum State {
        case present(action: (@Sendable () -> Void)?)
        case gone
    }

    private let state = Mutex(State.present(action: nil))

    /// Runs `action` once the client goes, at once if it has gone, and forgets any earlier one: a
    /// connection serves one request at a time.
    func whenGone(_ action: @escaping @Sendable () -> Void) {
        let isGone = state.withLock { state in
            if case .gone = state { return true }
            state = .present(action: action)
            return false
        }
        if isGone { action() }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.fireChannelRead(data)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed { depart() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        depart()
        context.fireChannelInactive()
    }

    private func depart() {
        let action: (@Sendable () -> Void)? = state.withLock { state in
            guard case .present(let action) = state else { return nil }
            state = .gone
            return action
        }
        action?()
    }
}
