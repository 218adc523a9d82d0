import PacketMemory

/// The dynamic table of HPACK without its text: an entry is what it means and how long it is.
///
/// The entries lie in memory that is lent to every call, ``byteCount`` bytes. A table of more
/// than 128 entries, which is larger than the default of 4,096 bytes, loses its oldest ones:
/// ``hasForgotten``. Source: RFC 7541, sections 2.3.2 and 4.
struct HPACKDynamicTable {
    struct Entry {
        var nameCount: UInt32 = 0
        var field = HTTPField.other
        /// Largest: nobody may rely on it.
        var value: UInt64 = 0

        init() {}

        init(nameCount: UInt32, field: HTTPField, value: UInt64) {
            self.nameCount = nameCount
            self.field = field
            self.value = value
        }

        init(nameCount: UInt32, field: HTTPField, meaning: UInt64?) {
            self.init(
                nameCount: nameCount, field: field,
                value: min(meaning ?? HPACKDynamicTable.unusable, HPACKDynamicTable.unusable))
        }

        var meaning: UInt64? { value == HPACKDynamicTable.unusable ? nil : value }
    }

    private(set) var count = 0
    /// Of the remembered entries (section 4.1).
    private(set) var size: UInt64 = 0
    private(set) var sizeMax: UInt64 = 4096
    private(set) var hasForgotten = false
    /// Where the newest entry is.
    private var newest = 0

    /// - Parameter index: 0 for the newest.
    func entry(_ index: Int, entries: ByteRegion) -> Entry? {
        guard index < count else { return nil }
        let place = (newest &- index) & (Self.countMax &- 1)
        let word = entries.bigEndian64(at: place &* Self.stride)
        return Entry(
            nameCount: entries.bigEndian32(at: place &* Self.stride &+ 8),
            field: HTTPField(rawValue: UInt8(truncatingIfNeeded: word &>> 56)) ?? .other,
            value: word & Self.unusable)
    }

    /// Section 4.4: an entry larger than the table empties it, which is no error.
    mutating func insert(_ entry: Entry, valueCount: UInt32, entries: ByteRegion) {
        let itsSize = UInt64(entry.nameCount) &+ UInt64(valueCount) &+ 32
        evict(to: sizeMax >= itsSize ? sizeMax &- itsSize : 0, entries: entries)
        guard itsSize <= sizeMax else {
            hasForgotten = false
            return
        }
        if count == Self.countMax {
            dropOldest(entries: entries)
            hasForgotten = true
        }
        newest = (newest &+ 1) & (Self.countMax &- 1)
        let start = newest &* Self.stride
        let word = UInt64(entry.field.rawValue) &<< 56 | min(entry.value, Self.unusable)
        entries.storeBigEndian(word, at: start)
        entries.storeBigEndian(entry.nameCount, at: start &+ 8)
        entries.storeBigEndian(UInt32(truncatingIfNeeded: itsSize), at: start &+ 12)
        count &+= 1
        size &+= itsSize
    }

    mutating func resize(to sizeMax: UInt32, entries: ByteRegion) {
        self.sizeMax = UInt64(sizeMax)
        evict(to: self.sizeMax, entries: entries)
        if sizeMax == 0 { hasForgotten = false }
    }

    private mutating func evict(to limit: UInt64, entries: ByteRegion) {
        while size > limit { dropOldest(entries: entries) }
    }

    private mutating func dropOldest(entries: ByteRegion) {
        let place = (newest &- count &+ 1) & (Self.countMax &- 1)
        size &-= UInt64(entries.bigEndian32(at: place &* Self.stride &+ 12))
        count &-= 1
    }

    static let countMax = 128
    static let stride = 16
    static let byteCount = countMax * stride
    /// 56 bits.
    static let unusable: UInt64 = 0x00FF_FFFF_FFFF_FFFF
}
