public import PacketMemory

/// Looks through the options of an IPv4 header.
///
/// Source: RFC 791, section 3.1.
@usableFromInline
enum IPv4Options {
    private static var end: UInt8 { 0 }
    private static var noOperation: UInt8 { 1 }
    private static var looseSourceRoute: UInt8 { 131 }
    private static var strictSourceRoute: UInt8 { 137 }

    /// Whether the sender chose the way; also where options do not make sense, since others may
    /// read them otherwise.
    ///
    /// - Parameter header: All of the header.
    @usableFromInline
    static func haveSourceRoute(_ header: ByteRegion) -> Bool {
        var offset = IPv4Field.headerCountMin
        while offset < header.count {
            switch header[offset] {
            case end: return false
            case noOperation: offset += 1
            case looseSourceRoute, strictSourceRoute: return true
            default:
                guard offset + 1 < header.count, header[offset + 1] >= 2 else { return true }
                offset += Int(header[offset + 1])
            }
        }
        return offset > header.count
    }
}
