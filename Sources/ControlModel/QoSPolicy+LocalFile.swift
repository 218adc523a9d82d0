/// Why the bytes of a local QoS file are not used.
public struct QoSFileFault: Error, Hashable, Sendable, CustomStringConvertible {
    /// For the operator.
    public let description: String

    public init(_ description: String) { self.description = description }
}

extension QoSPolicy {
    /// Reads a local file, whole or not at all: unknown members and contradictions are refused.
    ///
    /// - Parameter bytes: Of the file, at most ``PolicyLimits/fileBytesMax``.
    public init(localFile bytes: [UInt8]) throws(QoSFileFault) {
        guard bytes.count <= PolicyLimits.fileBytesMax else {
            throw QoSFileFault("it is larger than \(PolicyLimits.fileBytesMax) bytes")
        }
        let unknown: [String]
        do {
            self = try APIJSON.decode(from: bytes)
            unknown = try APIJSON.unknownMembers(of: bytes, readAs: self)
        } catch let error as DecodingError {
            throw QoSFileFault(DecodingFault.describe(error))
        } catch {
            throw QoSFileFault(DecodingFault.notJSON)
        }
        guard unknown.isEmpty else {
            let shown = unknown.prefix(Self.unknownShownMax).map(Refusal.excerpt)
            throw QoSFileFault("nothing is known of \(shown.joined(separator: ", "))")
        }
        let faults = faults(of: .localFile)
        guard faults.isEmpty else { throw QoSFileFault(faults.joined(separator: "; ")) }
    }

    private static var unknownShownMax: Int { 8 }
}
