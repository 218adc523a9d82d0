import Cryptography

/// The audit log's hash chain, as the coordinator makes it and as anybody checks it offline.
///
/// The hash of an entry is SHA-256 over its text: `branchline-audit-1`, number and time, each with
/// a line feed behind it; then actor, action, tenant, subject, every detail's name and value in the
/// order of the names' bytes, and the hash of the entry before, each as its length in bytes of
/// UTF-8, a colon, the text and a line feed. A missing tenant is a hyphen and a line feed; the
/// details' count, with a line feed, stands before them.
///
/// Whoever keeps the last number and hash elsewhere sees a log that was cut off or written anew.
public struct AuditChain: Hashable, Sendable {
    /// What the log does not hold together any more, and where.
    public struct Fault: Error, Hashable, Sendable, CustomStringConvertible {
        public let number: Int64
        public let description: String
    }

    /// Entries so far.
    public private(set) var count: Int64
    /// Hash of the last one.
    public private(set) var hash: String

    public init() {
        count = 0
        hash = Self.beginning
    }

    /// Continues after an entry that was checked before.
    public init(after number: Int64, hash: String) {
        count = number
        self.hash = hash
    }

    /// Takes the next entry, which says so itself and has the hash that it should have.
    public mutating func accept(_ entry: CoordinatorAPI.AuditEntry) throws(Fault) {
        guard entry.number == count + 1 else {
            throw Fault(
                number: entry.number,
                description: "entry \(entry.number) stands where \(count + 1) belongs: entries "
                    + "are missing, repeated or in another order")
        }
        guard entry.previous == hash else {
            throw Fault(
                number: entry.number,
                description: "entry \(entry.number) does not follow the one before it: one of "
                    + "them was changed")
        }
        guard entry.hash == Self.hash(of: entry) else {
            throw Fault(
                number: entry.number, description: "entry \(entry.number) was changed")
        }
        count = entry.number
        hash = entry.hash
    }

    /// SHA-256 in hex over all of `entry` but its own `hash`.
    public static func hash(of entry: CoordinatorAPI.AuditEntry) -> String {
        var text = "branchline-audit-1\n\(entry.number)\n\(entry.at)\n"
        func add(_ field: String) { text += "\(field.utf8.count):\(field)\n" }
        add(entry.actor)
        add(entry.action)
        if let tenant = entry.tenant { add(tenant) } else { text += "-\n" }
        add(entry.subject)
        text += "\(entry.details.count)\n"
        let details = entry.details.sorted { first, second in
            first.key.utf8.lexicographicallyPrecedes(second.key.utf8)
        }
        for (name, value) in details {
            add(name)
            add(value)
        }
        add(entry.previous)
        return hex(SHA256.hash(text))
    }

    /// What the first entry follows.
    public static let beginning = String(repeating: "0", count: 64)

    private static func hex(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for byte in bytes {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }
}
