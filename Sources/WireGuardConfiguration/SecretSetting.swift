internal import Cryptography

/// A line that holds a key which must not be in a `String`, which cannot be wiped.
struct SecretSetting {
    enum Kind: String, CaseIterable {
        case privateKey = "PrivateKey"
        case presharedKey = "PresharedKey"
    }

    let kind: Kind
    let line: Int
    private let value: ArraySlice<UInt8>

    /// - Returns: `nil` for any other line.
    init?(_ text: ArraySlice<UInt8>, line: Int) {
        guard let separator = text.firstIndex(of: UInt8(ascii: "=")) else { return nil }
        let name = text[..<separator].trimmed
        let kind = Kind.allCases.first { kind in
            name.elementsEqual(kind.rawValue.utf8) { $0 | 0x20 == $1 | 0x20 }
        }
        guard let kind else { return nil }
        self.kind = kind
        self.line = line
        value = text[(separator + 1)...].trimmed
    }

    /// - Returns: `nil` for 32 zero bytes, which stand for no key everywhere in WireGuard.
    func privateKey() throws(WireGuardFileError) -> PrivateKey? {
        // Clamping would hide that they were zero.
        guard try presharedKey() != nil else { return nil }
        return PrivateKey(base64: value)
    }

    /// - Returns: `nil` for 32 zero bytes, which stand for no key everywhere in WireGuard.
    func presharedKey() throws(WireGuardFileError) -> PresharedKey? {
        guard let key = PresharedKey(base64: value) else {
            throw WireGuardFileError(notAKey: kind.rawValue, line: line)
        }
        return key.isZero ? nil : key
    }
}

extension WireGuardFileError {
    init(notAKey name: String, line: Int) {
        self.init(
            line: line, key: name, reason: "is not a key (its value is not shown)",
            accepted: "32 bytes in base64: 44 characters that end with =")
    }
}

extension ArraySlice<UInt8> {
    /// Without ASCII white space at both ends.
    fileprivate var trimmed: ArraySlice<UInt8> {
        guard let first = firstIndex(where: { !isSpace($0) }),
            let last = lastIndex(where: { !isSpace($0) })
        else { return self[endIndex...] }
        return self[first...last]
    }
}
