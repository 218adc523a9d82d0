import ControlModel
import NIOCore
import Telemetry

/// One node's stream: how far it got, and whom to tell when it ends. Used on its event loop only.
final class Watcher {
    /// Why nothing more is written to a stream from the ring.
    enum Ending: Hashable, Sendable {
        /// The ring does not have what follows this number: read it from storage, or send
        /// everything anew where there is no number.
        case behind(Int64?)
        case closed
        /// The coordinator goes away.
        case shutdown
        /// The same node has newer streams.
        case replaced
        /// The node was revoked, and told so.
        case revoked
    }

    let id: UInt64
    let identity: NodeIdentity
    /// Whether the node was active when it last got everything. Others hear of what concerns all
    /// and themselves only.
    private var isActive: Bool
    /// Number of the last change that was written, or did not concern the node.
    private(set) var position: Int64 = 0

    private let connection: ClientConnection
    private let loop: WatchLoop
    private var ending: EventLoopPromise<Ending>?
    /// Whether there is more for the client than it takes now.
    private var isStalled = false

    init(
        id: UInt64, identity: NodeIdentity, connection: ClientConnection, loop: WatchLoop
    ) {
        self.id = id
        self.identity = identity
        self.connection = connection
        self.loop = loop
        isActive = identity.state == .active
    }

    private var hub: WatchHub { loop.hub }

    var isFollowing: Bool { ending != nil }

    /// Begins to follow the ring.
    ///
    /// - Parameter position: Number of the last change that the client has.
    /// - Parameter ending: Gets why following ended.
    func follow(from position: Int64, isActive: Bool, ending: EventLoopPromise<Ending>) {
        self.position = position
        self.isActive = isActive
        guard connection.isWatching else { return ending.succeed(.closed) }
        if let reason = hub.reasonToEnd(id, of: identity) { return ending.succeed(reason) }
        self.ending = ending
        isStalled = false
        catchUp()
    }

    /// Writes what concerns the node, in order, as far as the client takes it.
    func deliver(_ frames: ArraySlice<WatchFrame>) {
        guard isFollowing, !isStalled, let first = frames.first else { return }
        guard position >= first.number - 1 else { return catchUp() }
        var isWritten = false
        for frame in frames where frame.number > position && isFollowing {
            if concerns(frame) {
                guard connection.writeFramed(frame.buffer) else {
                    isStalled = true
                    break
                }
                hub.counters.add(.watchChangesSent)
                isWritten = true
            }
            position = frame.number
            afterDelivery(of: frame)
        }
        if isWritten { connection.flush() }
    }

    /// The shared heartbeat, unless there is something else to be sent first.
    func heartbeat(_ frame: WatchFrame) {
        guard isFollowing, !isStalled, position == frame.number else { return }
        if connection.writeFramed(frame.buffer) {
            connection.flush()
        } else {
            isStalled = true
        }
    }

    func becameWritable() {
        guard isFollowing, isStalled else { return }
        isStalled = false
        catchUp()
    }

    func connectionClosed() {
        end(.closed)
        loop.remove(self)
    }

    /// The stream ends, its connection may go on.
    func leave() {
        connection.endWatch()
        loop.remove(self)
    }

    func end(_ reason: Ending) {
        guard let ending else { return }
        self.ending = nil
        ending.succeed(reason)
    }

    private func catchUp() {
        guard let frames = hub.frames(identity.tenant, after: position) else {
            return end(.behind(position))
        }
        deliver(frames)
    }

    private func concerns(_ frame: WatchFrame) -> Bool {
        switch frame.audience {
        case .all: true
        case .gateways: isActive && identity.role == .gateway
        case .others: isActive && identity.role != .gateway
        case .node(let key): key == identity.node
        }
    }

    private func afterDelivery(of frame: WatchFrame) {
        if frame.revoked.contains(identity.node) {
            end(.revoked)
        } else if !isActive, frame.audience == .node(identity.node) {
            // It may be active from here on, with peers that it was not told of.
            end(.behind(nil))
        }
    }
}
