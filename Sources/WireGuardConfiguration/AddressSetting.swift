public import PacketFormats

/// What the Address setting gives an interface: an address and the length of its network's prefix.
///
/// Unlike an `IPPrefix` it keeps the host's part: `10.0.0.7/24`.
public struct AddressSetting: Hashable, Sendable, CustomStringConvertible {
    public let address: IPAddress
    /// In bits, at most 32 for IPv4 and 128 for IPv6.
    public let prefixLength: Int

    /// Reads `10.0.0.7/24`; an address alone has all its bits as prefix.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let address = IPAddress(String(first)) else { return nil }
        let lengthMax = address.isIPv4 ? 32 : 128
        guard parts.count == 2 else {
            self.init(address: address, prefixLength: lengthMax)
            return
        }
        guard let length: Int = NumberText.decimal(parts[1]), length <= lengthMax
        else { return nil }
        self.init(address: address, prefixLength: length)
    }

    /// - Parameter prefixLength: Within the address family's bounds.
    public init(address: IPAddress, prefixLength: Int) {
        self.address = address
        self.prefixLength = prefixLength
    }

    public var description: String { "\(address)/\(prefixLength)" }
}
