/// Where a coordinator answers, without a slash at the end: `https://hq.example:8443`.
///
/// Narrower than URLs are: no user, query or fragment, so that nothing hides where a connection
/// goes. A path is allowed, for coordinators behind a proxy.
struct CoordinatorAddress: Hashable, Sendable {
    let text: String

    init(_ address: String) throws(ClientFault) {
        guard let text = Self.normal(address) else {
            let shown = address.filter { $0.isASCII && !$0.isNewline }
            throw .invalidAddress(String(shown.prefix(ClientLimits.excerptCount)))
        }
        self.text = text
    }

    /// - Parameters:
    ///   - path: Begins with a slash.
    ///   - query: Names and values as they are, not yet encoded.
    func url(_ path: String, query: [(String, String)]) -> String {
        let fields = query.map { "\(Self.encoded($0.0))=\(Self.encoded($0.1))" }
        return text + path + (fields.isEmpty ? "" : "?" + fields.joined(separator: "&"))
    }

    private static func normal(_ address: String) -> String? {
        let scheme = "https://"
        guard address.utf8.count <= ClientLimits.addressBytesMax, address.hasPrefix(scheme)
        else { return nil }
        let rest = address.dropFirst(scheme.count)
        let authority = rest.prefix { $0 != "/" }
        let path = rest[authority.endIndex...]
        guard isAuthority(authority), path.utf8.allSatisfy({ isPlain($0) || $0 == slash }),
            !path.contains("//"), !path.split(separator: "/").contains("..")
        else { return nil }
        return scheme + authority + (path.hasSuffix("/") ? path.dropLast() : path)
    }

    private static func isAuthority(_ text: Substring) -> Bool {
        var port: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return false }
            let host = text[text.index(after: text.startIndex)..<end]
            guard host.contains(":"), host.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." })
            else { return false }
            let after = text[text.index(after: end)...]
            guard after.isEmpty || after.hasPrefix(":") else { return false }
            port = after.isEmpty ? nil : after.dropFirst()
        } else {
            let host = text.prefix { $0 != ":" }
            guard !host.isEmpty, host.utf8.allSatisfy(isPlain) else { return false }
            port = host.endIndex == text.endIndex ? nil : text[host.endIndex...].dropFirst()
        }
        guard let port else { return true }
        guard port.allSatisfy({ $0.isASCII && $0.isNumber }), let number = UInt16(port) else {
            return false
        }
        return number > 0
    }

    /// RFC 3986, section 2.3.
    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
            UInt8(ascii: "_"), UInt8(ascii: "~"):
            true
        default: false
        }
    }

    private static func encoded(_ text: String) -> String {
        var encoded = ""
        for byte in text.utf8 {
            if isPlain(byte) {
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                encoded += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
            }
        }
        return encoded
    }

    private static var slash: UInt8 { UInt8(ascii: "/") }
}
