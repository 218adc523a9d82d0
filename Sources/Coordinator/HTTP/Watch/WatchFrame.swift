import ControlModel
import Cryptography
import NIOCore

/// One event as all watchers share it: a line of JSON, framed as an HTTP/1.1 chunk.
struct WatchFrame: Sendable {
    let number: Int64
    let audience: StoredChange.Audience
    let buffer: ByteBuffer
    /// Nodes that a revocation list in it revokes for good: their streams end with it.
    let revoked: Set<VerifyingKey>

    init(_ change: StoredChange) {
        number = change.number
        audience = change.audience
        buffer = Self.chunk(Self.line(change))
        revoked = Self.revoked(by: change.payload)
    }

    /// A heartbeat or a farewell.
    init(_ kind: CoordinatorAPI.WatchEvent.Kind, number: Int64) {
        self.number = number
        audience = .all
        revoked = []
        buffer = Self.chunk([UInt8]("{\"kind\":\"\(kind.rawValue)\",\"number\":\(number)}\n".utf8))
    }

    /// As a `CoordinatorAPI.WatchEvent` is encoded, without decoding the change.
    static func line(_ change: StoredChange) -> [UInt8] {
        var line = [UInt8]("{\"change\":".utf8)
        line += change.payload
        line += ",\"kind\":\"change\",\"number\":\(change.number)}\n".utf8
        return line
    }

    /// Source: RFC 9112, section 7.1.
    private static func chunk(_ line: [UInt8]) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(line.count + 16)
        buffer.writeString("\(String(line.count, radix: 16))\r\n")
        buffer.writeBytes(line)
        buffer.writeString("\r\n")
        return buffer
    }

    /// Reads the list's claims only: the service believed it, or it would not be here.
    static func revoked(by payload: [UInt8]) -> Set<VerifyingKey> {
        guard payload.contains(revocationsMember),
            let change = try? APIJSON.decode(CoordinatorAPI.NetworkChange.self, from: payload),
            let link = change.revocations.flatMap(StatementChain.lastLink)
        else { return [] }
        let parts = link.split(separator: ".")
        guard parts.count == 3, let claims = Base64URL.decode(String(parts[1])),
            let list = try? APIJSON.decode(ListClaims.self, from: claims)
        else { return [] }
        let forGood = list.revoked.filter { $0.serial == TrustLimits.integerMax }
        return Set(forGood.compactMap { $0.node.flatMap { VerifyingKey(base64URL: $0) } })
    }

    private struct ListClaims: Decodable {
        struct Entry: Decodable {
            var node: String?
            var serial: Int64?
        }

        var revoked: [Entry]
    }

    private static let revocationsMember = [UInt8]("\"revocations\":".utf8)
}
