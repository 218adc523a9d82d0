import PacketMemory

/// Where the field being read lies, name before value, ``byteCount`` bytes for each side.
enum Scratch {
    static let nameMax = 40
    static let valueMax = 88
    static let byteCount = nameMax + valueMax

    static func name(_ scratch: ByteRegion, count: Int) -> ByteRegion {
        scratch.region(at: 0, count: min(count, nameMax))
    }

    static func value(_ scratch: ByteRegion, count: Int) -> ByteRegion {
        scratch.region(at: nameMax, count: min(count, valueMax))
    }

    /// What does not fit is left out.
    static func putName(_ byte: UInt8, at place: Int, _ scratch: ByteRegion) {
        if place < nameMax { scratch[place] = byte.lowercased }
    }

    static func putValue(_ byte: UInt8, at place: Int, _ scratch: ByteRegion) {
        if place < valueMax { scratch[nameMax &+ place] = byte }
    }
}

/// What all scanners look up.
struct ProtocolTables: ~Copyable {
    let vocabulary: Vocabulary
    let hpack: HPACKTables

    init() {
        let vocabulary = Vocabulary()
        hpack = HPACKTables(vocabulary: vocabulary)
        self.vocabulary = vocabulary
    }
}
