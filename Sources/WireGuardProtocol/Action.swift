public import PacketFormats
public import PacketMemory

/// What a device wants done; the order of actions matters.
public enum Action: Sendable {
    /// Send a handshake datagram; `peer` is `nil` for a cookie reply, which answers an address.
    case sendHandshake(HandshakeMessage, to: Endpoint, peer: PeerID?)
    /// Make the session known by its local index on all workers; with `.sending` also as the
    /// peer's sending session.
    case install(Session, use: SessionUse)
    /// Make an installed session the peer's sending session on all workers, also on one that chose
    /// another when it confirmed that, and send what is staged.
    case promote(Session)
    /// Forget the session: its local index is free from now on.
    case retire(Session)
    /// The peer has no session to send with.
    case stopSending(PeerID)
    /// Send what is staged for the peer or, if nothing is, a keepalive, with the session that was
    /// just installed: it tells the responder that the handshake succeeded.
    case sendStagedOrKeepalive(PeerID)
    /// Send an empty transport message.
    case sendKeepalive(PeerID)
    /// Send a probe of the path now, or not at all.
    case sendProbe(PeerID, PathProbe)
    /// Send the peer no inner packet that is longer, padding included.
    case limitPackets(PeerID, byteCount: Int)
    /// Drop what is staged: no handshake succeeded in time.
    case discardStaged(PeerID)
    /// Send to the peer at this endpoint from now on; `nil` if none is known any more.
    case endpointChanged(PeerID, Endpoint?)
}

public enum SessionUse: Sendable {
    /// The initiator's: packets may be sent with it at once.
    case sending
    /// The responder's: until a packet confirms it, it only receives.
    case receivingOnly
}

/// A handshake datagram as a value.
public struct HandshakeMessage: Sendable {
    /// Initiation, response or cookie reply.
    public let kind: WireGuardMessage.Kind
    /// The datagram, at most ``ImplementationLimits/handshakeMessageByteMax`` bytes.
    public let bytes: [UInt8]

    init(kind: WireGuardMessage.Kind, message: ByteRegion) {
        self.kind = kind
        bytes = message.bytes
    }

    /// Length in bytes.
    public var count: Int { bytes.count }

    /// Writes the datagram to the start of `region`.
    ///
    /// - Parameter region: At least ``count`` bytes.
    /// - Returns: The part of `region` that was written.
    @discardableResult
    public func write(to region: ByteRegion) -> ByteRegion {
        for (offset, byte) in bytes.enumerated() { region[offset] = byte }
        return region.prefix(count)
    }
}

/// Actions in the order in which they are to be done; the device's owner empties it.
public struct ActionQueue: Sendable {
    private var items: [Action] = []
    private var head = 0

    public var isEmpty: Bool { head == items.count }
    public var count: Int { items.count - head }

    /// Takes the oldest action.
    public mutating func popFirst() -> Action? {
        guard head < items.count else { return nil }
        let action = items[head]
        head += 1
        if head == items.count {
            // A burst's memory, and the sessions it names, are not kept.
            items.removeAll(keepingCapacity: items.count <= 64)
            head = 0
        }
        return action
    }

    mutating func append(_ action: Action) { items.append(action) }
}

/// What became of a handshake datagram.
public enum ReceiveOutcome: Equatable, Sendable {
    /// Authentic, and acted upon.
    case accepted(PeerID)
    case dropped(DropReason)
}
