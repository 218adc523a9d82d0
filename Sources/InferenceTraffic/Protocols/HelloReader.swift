import PacketMemory

/// Reads a ClientHello or a ServerHello byte by byte, whatever records and segments carry it.
///
/// Source: RFC 8446, sections 4.1.2, 4.1.3 and 4.2; server name RFC 6066, section 3; ALPN RFC 7301,
/// section 3.1.
struct HelloReader {
    enum Step {
        case more, done, failed
    }

    private enum Stage: UInt8 {
        case type, length, versionAndRandom
        case sessionLength, session
        case ciphersLength, ciphers, compressionLength, compression
        case chosen
        case extensionsLength, extensionHeader, extensionBody
    }

    let isClient: Bool
    private(set) var summary = HelloSummary()
    private(set) var isVersion13 = false
    private(set) var isDone = false

    private var stage = Stage.type
    /// Bytes of the message, and of the part in turn.
    private var messageRemaining: UInt32 = 0
    private var partRemaining: UInt32 = 0
    private var gathered: UInt32 = 0
    private var gatheredCount: UInt8 = 0

    private var extensionType: UInt16 = 0
    private var position: UInt32 = 0
    private var item: UInt64 = 0
    private var itemCount: UInt8 = 0
    private var itemRemaining: UInt32 = 0
    private var hash: UInt64 = 0

    init(isClient: Bool) { self.isClient = isClient }

    mutating func read(_ byte: UInt8, vocabulary: borrowing Vocabulary) -> Step {
        switch stage {
        case .type:
            guard byte == (isClient ? 1 : 2) else { return .failed }
            stage = .length
            return .more
        case .length:
            guard gather(byte, 3) else { return .more }
            messageRemaining = takeGathered()
            guard messageRemaining <= UInt32(ScanLimits.headBytesMax) else { return .failed }
            skip(34, as: .versionAndRandom)
            return messageRemaining >= 34 ? .more : .failed
        default: break
        }
        guard messageRemaining > 0 else { return .failed }
        messageRemaining &-= 1
        guard step(byte, vocabulary: vocabulary) else { return .failed }
        guard messageRemaining == 0 else { return .more }
        // Extensions may be absent; everything else has to be complete.
        guard stage == .extensionsLength && gatheredCount == 0 || stage == .extensionHeader
            && gatheredCount == 0
        else { return .failed }
        isDone = true
        return .done
    }

    private mutating func step(_ byte: UInt8, vocabulary: borrowing Vocabulary) -> Bool {
        switch stage {
        case .type, .length: return false
        case .versionAndRandom, .session, .ciphers, .compression, .chosen:
            partRemaining &-= 1
            if partRemaining == 0 { partEnded() }
        case .sessionLength:
            if byte > 32 { return false }
            skip(UInt32(byte), as: .session)
        case .ciphersLength:
            guard gather(byte, 2) else { return true }
            skip(takeGathered(), as: .ciphers)
        case .compressionLength: skip(UInt32(byte), as: .compression)
        case .extensionsLength:
            guard gather(byte, 2) else { return true }
            guard takeGathered() == messageRemaining else { return false }
            stage = .extensionHeader
        case .extensionHeader:
            guard gather(byte, 4) else { return true }
            let header = takeGathered()
            extensionType = UInt16(truncatingIfNeeded: header &>> 16)
            partRemaining = header & 0xFFFF
            guard partRemaining <= messageRemaining else { return false }
            (position, item, itemCount, itemRemaining) = (0, 0, 0, 0)
            hash = vocabulary.hashStart
            if partRemaining > 0 { stage = .extensionBody }
        case .extensionBody:
            partRemaining &-= 1
            readExtension(byte, vocabulary: vocabulary)
            position &+= 1
            if partRemaining == 0 { stage = .extensionHeader }
        }
        return true
    }

    private mutating func skip(_ count: UInt32, as stage: Stage) {
        self.stage = stage
        partRemaining = count
        if count == 0 { partEnded() }
    }

    private mutating func partEnded() {
        switch stage {
        case .versionAndRandom: stage = .sessionLength
        case .session:
            if isClient { stage = .ciphersLength } else { skip(3, as: .chosen) }
        case .ciphers: stage = .compressionLength
        default: stage = .extensionsLength
        }
    }

    private mutating func gather(_ byte: UInt8, _ count: UInt8) -> Bool {
        gathered = gathered &<< 8 | UInt32(byte)
        gatheredCount &+= 1
        return gatheredCount == count
    }

    private mutating func takeGathered() -> UInt32 {
        defer { (gathered, gatheredCount) = (0, 0) }
        return gathered
    }

    // MARK: - Extensions

    private mutating func readExtension(_ byte: UInt8, vocabulary: borrowing Vocabulary) {
        switch (extensionType, isClient) {
        case (0, true): readServerName(byte, vocabulary: vocabulary)
        case (16, true): readApplicationProtocol(byte)
        case (43, false):
            item = item &<< 8 | UInt64(byte)
            if position == 1 { isVersion13 = item == 0x0304 }
        default: break
        }
    }

    /// List length, kind of name (0: host_name), length, name; further names do not occur.
    private mutating func readServerName(_ byte: UInt8, vocabulary: borrowing Vocabulary) {
        switch position {
        case 0, 1: break
        case 2: item = UInt64(byte)
        case 3, 4: itemRemaining = itemRemaining &<< 8 | UInt32(byte)
        default:
            guard item == 0, itemRemaining > 0 else { return }
            hash = Vocabulary.hash(hash, byte)
            itemRemaining &-= 1
            if itemRemaining == 0 { summary.serverNameHash = vocabulary.hashEnd(hash) }
        }
    }

    /// List length, then names with a length of one byte each.
    private mutating func readApplicationProtocol(_ byte: UInt8) {
        guard position >= 2 else { return }
        if itemRemaining == 0 {
            itemRemaining = UInt32(byte)
            (item, itemCount) = (0, byte)
            return
        }
        item = item &<< 8 | UInt64(byte)
        itemRemaining &-= 1
        guard itemRemaining == 0 else { return }
        switch (itemCount, item) {
        case (2, 0x6832): summary.applicationProtocols.insert(.http2)
        case (8, 0x6874_7470_2F31_2E31): summary.applicationProtocols.insert(.http1)
        default: summary.applicationProtocols.insert(.other)
        }
    }
}
