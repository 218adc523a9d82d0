import PacketFormats
import WireGuardConfiguration

/// Addresses of the endpoints that gateways say they have.
struct EndpointBook: Sendable {
    private struct Entry: Sendable {
        var endpoint: Endpoint?
        /// In Unix seconds, or far away while a lookup is under way.
        var dueAt: Int64
        var failures = 0
    }

    private var entries: [String: Entry] = [:]

    /// - Parameter text: `host:port`.
    /// - Returns: `nil` for a name without a known address, and for what is no endpoint.
    mutating func endpoint(_ text: String) -> Endpoint? {
        switch HostEndpoint(text) {
        case .address(let endpoint): return endpoint
        case .name:
            if entries[text] == nil, entries.count < Self.entriesMax {
                entries[text] = Entry(dueAt: 0)
            }
            return entries[text]?.endpoint
        case nil: return nil
        }
    }

    /// Names to look up now; the answer goes to ``note(_:of:at:)``.
    ///
    /// - Parameter countMax: How many; the others stay due.
    mutating func takeDue(
        at now: Int64, countMax: Int = .max, isUsed: (String) -> Bool
    ) -> [(String, String, UInt16)] {
        entries = entries.filter { isUsed($0.key) }
        var due: [(String, String, UInt16)] = []
        for (text, entry) in entries where entry.dueAt <= now && due.count < countMax {
            guard case .name(let name, let port) = HostEndpoint(text) else { continue }
            entries[text]?.dueAt = .max
            due.append((text, name, port))
        }
        return due
    }

    /// - Returns: Whether the endpoint is another one than before.
    mutating func note(_ endpoint: Endpoint?, of text: String, at now: Int64) -> Bool {
        guard var entry = entries[text] else { return false }
        defer { entries[text] = entry }
        guard let endpoint else {
            entry.failures += 1
            entry.dueAt = now + min(1 << Int64(min(entry.failures, 6)), Self.refreshSeconds)
            return false
        }
        entry.failures = 0
        entry.dueAt = now + Self.refreshSeconds
        let isNew = entry.endpoint != endpoint
        entry.endpoint = endpoint
        return isNew
    }

    private static var refreshSeconds: Int64 { 300 }
    private static var entriesMax: Int { 1_024 }
}
