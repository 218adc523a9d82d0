import PacketMemory

/// Reads the field blocks of one direction of an HTTP/2 connection, byte by byte.
///
/// The dynamic table keeps what an entry means and how long it is, never its text; see
/// ``HPACKDynamicTable``. Source: RFC 7541.
struct HPACKDecoder {
    /// What a byte completed.
    enum Step: Equatable {
        case more
        /// The value is what ``Vocabulary/meaning(of:_:isWhole:)`` says.
        case field(HTTPField, value: UInt64?)
        case failed
        /// An entry is needed that a table of this size had no room to remember.
        case forgotten
    }

    private enum Stage: UInt8 {
        case opcode, index
        case nameLength, longNameLength, name
        case valueLength, longValueLength, value
    }

    /// RFC 7541, section 6.
    private enum Kind: UInt8 {
        case indexed, incremental, literal, sizeUpdate
    }

    private(set) var table = HPACKDynamicTable()
    /// The largest size that the other side allows: SETTINGS_HEADER_TABLE_SIZE.
    var sizeLimit: UInt32 = 4096
    private var stage = Stage.opcode
    private var kind = Kind.literal
    private var hasFields = false

    private var number: UInt32 = 0
    private var shift: UInt8 = 0

    private var isHuffman = false
    private var remaining: UInt32 = 0
    private var code: UInt32 = 0
    private var codeLength: UInt8 = 0

    private var field = HTTPField.other
    private var nameCount: UInt32 = 0
    private var valueCount: UInt32 = 0

    /// Whether a block may end here.
    var isBetweenFields: Bool { stage == .opcode }

    mutating func beginBlock() { hasFields = false }

    mutating func read(
        _ byte: UInt8, scratch: ByteRegion, entries: ByteRegion,
        tables: borrowing ProtocolTables
    ) -> Step {
        switch stage {
        case .opcode:
            return readOpcode(byte, entries: entries, tables: tables)
        case .nameLength, .valueLength:
            isHuffman = byte & 0x80 != 0
            (code, codeLength) = (0, 0)
            let isComplete = beginNumber(byte, prefix: 7)
            stage = stage == .nameLength ? .longNameLength : .longValueLength
            guard isComplete else { return .more }
            return numberEnded(entries: entries, scratch: scratch, tables: tables)
        case .index, .longNameLength, .longValueLength:
            guard continueNumber(byte) else { return .failed }
            guard byte & 0x80 == 0 else { return .more }
            return numberEnded(entries: entries, scratch: scratch, tables: tables)
        case .name, .value:
            guard readString(byte, scratch: scratch, tables: tables) else { return .failed }
            guard remaining == 0 else { return .more }
            return stringEnded(scratch: scratch, entries: entries, tables: tables)
        }
    }

    // MARK: - Representations (section 6)

    private mutating func readOpcode(
        _ byte: UInt8, entries: ByteRegion, tables: borrowing ProtocolTables
    ) -> Step {
        let prefix: UInt32
        switch byte.leadingZeroBitCount {
        case 0: (kind, prefix) = (.indexed, 7)
        case 1: (kind, prefix) = (.incremental, 6)
        case 2: (kind, prefix) = (.sizeUpdate, 5)
        default: (kind, prefix) = (.literal, 4)
        }
        if kind == .sizeUpdate {
            // Section 4.2: at the beginning of the first block after a change only.
            if hasFields { return .failed }
        } else {
            hasFields = true
        }
        stage = .index
        return beginNumber(byte, prefix: prefix)
            ? numberEnded(entries: entries, scratch: entries, tables: tables) : .more
    }

    private mutating func numberEnded(
        entries: ByteRegion, scratch: ByteRegion, tables: borrowing ProtocolTables
    ) -> Step {
        switch stage {
        case .index where kind == .sizeUpdate:
            guard number <= sizeLimit else { return .failed }
            table.resize(to: number, entries: entries)
            stage = .opcode
            return .more
        case .index: return indexEnded(entries: entries, tables: tables)
        case .longNameLength:
            nameCount = 0
            remaining = number
            stage = .name
            return remaining > 0
                ? .more : stringEnded(scratch: scratch, entries: entries, tables: tables)
        case .longValueLength:
            valueCount = 0
            remaining = number
            stage = .value
            return remaining > 0
                ? .more : stringEnded(scratch: scratch, entries: entries, tables: tables)
        case .opcode, .nameLength, .name, .valueLength, .value: return .failed
        }
    }

    private mutating func indexEnded(
        entries: ByteRegion, tables: borrowing ProtocolTables
    ) -> Step {
        if number == 0 {
            guard kind != .indexed else { return .failed }
            stage = .nameLength
            return .more
        }
        let entry: HPACKDynamicTable.Entry
        if number <= HPACKTables.staticCount {
            let fixed = tables.hpack.staticEntry(Int(number))
            entry = .init(nameCount: fixed.nameCount, field: fixed.field, value: fixed.value)
        } else {
            let index = Int(number) &- HPACKTables.staticCount &- 1
            if let found = table.entry(index, entries: entries) {
                entry = found
            } else if table.hasForgotten {
                if kind == .incremental { return .forgotten }
                entry = .init()
            } else {
                return .failed
            }
        }
        if kind == .indexed {
            stage = .opcode
            return .field(entry.field, value: entry.meaning)
        }
        field = entry.field
        nameCount = entry.nameCount
        stage = .valueLength
        return .more
    }

    private mutating func stringEnded(
        scratch: ByteRegion, entries: ByteRegion, tables: borrowing ProtocolTables
    ) -> Step {
        // Section 5.2: padding is shorter than a byte and made of ones.
        if isHuffman, codeLength > 7 || code != (1 &<< UInt32(codeLength)) &- 1 {
            return .failed
        }
        if stage == .name {
            guard nameCount > 0 else { return .failed }
            field = nameCount > UInt32(Scratch.nameMax)
                ? .other
                : tables.vocabulary.field(named: Scratch.name(scratch, count: Int(nameCount)))
            stage = .valueLength
            return .more
        }
        stage = .opcode
        let isWhole = valueCount <= UInt32(Scratch.valueMax)
        let kept = Int(min(valueCount, UInt32(Scratch.valueMax)))
        let meaning = tables.vocabulary.meaning(
            of: field, Scratch.value(scratch, count: kept), isWhole: isWhole)
        if kind == .incremental {
            let entry = HPACKDynamicTable.Entry(
                nameCount: nameCount, field: field, meaning: meaning)
            table.insert(entry, valueCount: valueCount, entries: entries)
        }
        return .field(field, value: meaning)
    }

    // MARK: - Numbers (section 5.1) and strings (section 5.2)

    /// - Returns: Whether the number is complete.
    private mutating func beginNumber(_ byte: UInt8, prefix: UInt32) -> Bool {
        let mask = UInt8(truncatingIfNeeded: (1 as UInt32) &<< prefix &- 1)
        number = UInt32(byte & mask)
        shift = 0
        return byte & mask != mask
    }

    /// - Returns: `false` for numbers beyond what any block here may hold.
    private mutating func continueNumber(_ byte: UInt8) -> Bool {
        guard shift <= 21 else { return false }
        number &+= UInt32(byte & 0x7F) &<< UInt32(shift)
        shift &+= 7
        return true
    }

    private mutating func readString(
        _ byte: UInt8, scratch: ByteRegion, tables: borrowing ProtocolTables
    ) -> Bool {
        remaining &-= 1
        guard isHuffman else {
            put(byte, scratch: scratch)
            return true
        }
        for bit in 0..<(8 as UInt8) {
            code = code &<< 1 | UInt32(byte &>> (7 &- bit) & 1)
            codeLength &+= 1
            guard Int(codeLength) >= HPACKTables.codeLengthMin else { continue }
            if let symbol = tables.hpack.symbol(code: code, length: Int(codeLength)) {
                guard symbol != HPACKTables.endOfString else { return false }
                put(UInt8(truncatingIfNeeded: symbol), scratch: scratch)
                (code, codeLength) = (0, 0)
            } else if codeLength >= HPACKTables.codeLengthMax {
                return false
            }
        }
        return true
    }

    private mutating func put(_ byte: UInt8, scratch: ByteRegion) {
        if stage == .name {
            Scratch.putName(byte, at: Int(nameCount), scratch)
            nameCount &+= 1
        } else {
            Scratch.putValue(byte, at: Int(valueCount), scratch)
            valueCount &+= 1
        }
    }
}
