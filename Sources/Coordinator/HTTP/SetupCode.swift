import Crypto
import Cryptography
import PacketMemory
import Synchronization

/// The one-time secret with which the organisation is set up.
///
/// Whoever can read the coordinator's state folder may make the organisation; the file goes once
/// that is done.
final class SetupCode: Sendable {
    private let folder: StateFolder
    private let hash = Mutex<[UInt8]?>(nil)

    init(folder: StateFolder) { self.folder = folder }

    /// SHA-256 of the code's text; `nil` once there is none.
    var currentHash: [UInt8]? { hash.withLock { $0 } }

    /// Reads the code, or makes it.
    ///
    /// - Returns: Whether it was made just now.
    @discardableResult
    func prepare() throws -> Bool {
        if let bytes = try folder.read(Self.fileName) {
            let text = String(decoding: bytes, as: UTF8.self).trimmed
            guard text.wholeMatch(of: /bls_[A-Za-z0-9_-]{43}/) != nil else {
                throw StateFault(
                    "\(folder.path(of: Self.fileName)) holds no set-up code: remove it, and a new "
                        + "one is made.")
            }
            take(text)
            return false
        }
        let text = "bls_" + Secret32.random().withBytes { Base64URL.encode($0) }
        try folder.createPrivate(Self.fileName, [UInt8]("\(text)\n".utf8))
        take(text)
        return true
    }

    /// The organisation exists: nobody may use the code any more.
    func remove() {
        hash.withLock { $0 = nil }
        folder.remove(Self.fileName)
    }

    private func take(_ text: String) {
        hash.withLock { $0 = [UInt8](SHA256.hash(data: [UInt8](text.utf8))) }
    }

    static let fileName = "setup-code"
}

extension String {
    /// Without white space at both ends.
    fileprivate var trimmed: String {
        let end = lastIndex { !$0.isWhitespace }.map { index(after: $0) } ?? startIndex
        return String(self[..<end].drop(while: \.isWhitespace))
    }
}
