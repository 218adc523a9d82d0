public import PacketFormats

/// Where datagrams go, and from which of our addresses: prepared once, sent to many times.
///
/// Belongs to sockets of one ``SocketFamily``.
@frozen
public struct Destination: Hashable, Sendable {
    @usableFromInline var name: SocketName
    @usableFromInline var local: LocalAddress

    /// - Parameter source: Address to send from; `nil` leaves the choice to the routing table.
    /// - Returns: `nil` for an IPv6 endpoint where the kernel has no IPv6.
    public init?(_ endpoint: Endpoint, family: SocketFamily, source: LocalAddress? = nil) {
        guard let name = SocketName(endpoint, family: family) else { return nil }
        self.name = name
        local = source ?? .unspecified
    }

    /// The way back for a received message: from the address that it was sent to.
    @inlinable
    public init(replyingTo batch: ReceiveBatch, message index: Int) {
        name = batch.name(index)
        local = batch.local(index)
    }

    public var endpoint: Endpoint { name.endpoint }

    /// Whether datagrams travel over IPv4.
    public var isIPv4: Bool { name.isIPv4 }

    /// Address that datagrams leave from, `nil` when the routing table chooses.
    public var source: LocalAddress? { local.isUnspecified ? nil : local }

    /// Whether a received message came from here and was sent to our source address: if not, the
    /// peer has roamed, once the message has authenticated.
    ///
    /// A destination without source matches no message, so it learns one from the first.
    /// - Complexity: Seven word compares.
    @inlinable @inline(__always)
    public func matches(_ batch: ReceiveBatch, _ index: Int) -> Bool {
        let otherName = batch.name(index)
        let otherLocal = batch.local(index)
        // Without branches between the words: nearly always all are equal.
        let difference =
            (name.head ^ otherName.head) | (name.first ^ otherName.first)
            | (name.second ^ otherName.second) | (name.tail ^ otherName.tail)
            | (local.first ^ otherLocal.first) | (local.second ^ otherLocal.second)
            | UInt64(local.interfaceIndex ^ otherLocal.interfaceIndex)
        return difference == 0
    }
}
