import CNetlink
import Glibc
import PacketFormats

/// One rtnetlink request, written into memory of its own.
@safe
final class NetlinkMessage {
    let header: UnsafeMutablePointer<nlmsghdr>
    private let memory: UnsafeMutableRawPointer

    /// - Parameter flags: Besides NLM_F_REQUEST.
    init(type: Int, flags: Int32) {
        unsafe memory = .allocate(byteCount: Self.byteCountMax, alignment: 8)
        unsafe header = mnl_nlmsg_put_header(memory)
        unsafe header.pointee.nlmsg_type = UInt16(type)
        unsafe header.pointee.nlmsg_flags = UInt16(truncatingIfNeeded: NLM_F_REQUEST | flags)
    }

    deinit {
        unsafe memory.deallocate()
    }

    /// Appends the family's fixed header.
    func put<Header: BitwiseCopyable>(header value: Header) {
        let place = unsafe mnl_nlmsg_put_extra_header(header, MemoryLayout<Header>.size)
        unsafe place.unsafelyUnwrapped.storeBytes(of: value, as: Header.self)
    }

    func put(_ attribute: Int, _ value: UInt32) {
        unsafe mnl_attr_put_u32(header, UInt16(attribute), value)
    }

    func put(_ attribute: Int, _ value: String) {
        unsafe mnl_attr_put_strz(header, UInt16(attribute), value)
    }

    /// 4 or 16 bytes in network order.
    func put(_ attribute: Int, _ address: IPAddress) {
        if address.isIPv4 {
            var word = address.ipv4.bigEndian
            unsafe mnl_attr_put(header, UInt16(attribute), MemoryLayout<UInt32>.size, &word)
        } else {
            var words = (address.high.bigEndian, address.low.bigEndian)
            unsafe mnl_attr_put(
                header, UInt16(attribute), MemoryLayout<(UInt64, UInt64)>.size, &words)
        }
    }

    /// Far more than any request here takes.
    private static let byteCountMax = 1024
}

/// The attributes of one received rtnetlink message: the first of each type.
struct NetlinkAttributes {
    private var values: [UInt16: [UInt8]] = [:]

    /// - Parameter offset: Size of the family's fixed header, in bytes.
    init(_ message: UnsafePointer<nlmsghdr>, offset: Int) {
        let end = unsafe UnsafeRawPointer(message) + Int(message.pointee.nlmsg_len)
        let start = unsafe UnsafeRawPointer(message)
            + NetlinkHeader.messageByteCount + Self.aligned(offset)
        unsafe read(start, end)
    }

    /// The attributes inside of an attribute.
    init(nested bytes: [UInt8]) {
        unsafe bytes.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress else { return }
            unsafe read(start, start + bytes.count)
        }
    }

    private mutating func read(_ start: UnsafeRawPointer, _ end: UnsafeRawPointer) {
        var next = unsafe start
        while unsafe end - next >= MemoryLayout<nlattr>.size {
            let attribute = unsafe next.loadUnaligned(as: nlattr.self)
            let count = Int(attribute.nla_len)
            if unsafe count < MemoryLayout<nlattr>.size || count > end - next { return }
            let bytes = unsafe UnsafeRawBufferPointer(
                start: next + MemoryLayout<nlattr>.size, count: count - MemoryLayout<nlattr>.size)
            let type = attribute.nla_type & Self.typeMask
            if values[type] == nil { values[type] = unsafe Array(bytes) }
            unsafe next += Self.aligned(count)
        }
    }

    func uint32(_ type: Int) -> UInt32? {
        guard let bytes = values[UInt16(type)], bytes.count >= 4 else { return nil }
        return unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(as: UInt32.self) }
    }

    func string(_ type: Int) -> String? {
        guard let bytes = values[UInt16(type)] else { return nil }
        return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }

    func nested(_ type: Int) -> NetlinkAttributes? {
        values[UInt16(type)].map { NetlinkAttributes(nested: $0) }
    }

    func has(_ type: Int) -> Bool { values[UInt16(type)] != nil }

    func address(_ type: Int) -> IPAddress? {
        guard let bytes = values[UInt16(type)] else { return nil }
        func number(_ part: ArraySlice<UInt8>) -> UInt64 {
            part.reduce(0) { $0 << 8 | UInt64($1) }
        }
        switch bytes.count {
        case 4: return IPAddress(ipv4: UInt32(number(bytes[...])))
        case 16: return IPAddress(high: number(bytes[..<8]), low: number(bytes[8...]))
        default: return nil
        }
    }

    private static func aligned(_ count: Int) -> Int { (count + 3) & ~3 }

    /// Without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    private static let typeMask: UInt16 = 0x3fff
}
