/// The kinds of packets that a TUN device takes many of in one write.
public struct CoalescingOffloads: OptionSet, Sendable {
    public let rawValue: UInt8

    @inlinable
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    @inlinable public static var tcp4: CoalescingOffloads { .init(rawValue: 1) }
    @inlinable public static var tcp6: CoalescingOffloads { .init(rawValue: 2) }
    @inlinable public static var udp4: CoalescingOffloads { .init(rawValue: 4) }
    @inlinable public static var udp6: CoalescingOffloads { .init(rawValue: 8) }
    @inlinable public static var all: CoalescingOffloads { [.tcp4, .tcp6, .udp4, .udp6] }
}
