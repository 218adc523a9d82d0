internal import Cryptography
internal import PacketFormats

extension WireGuardFile {
    /// Reads a file.
    ///
    /// Keys are matched without regard to case, a later value of a single-valued key replaces the
    /// earlier one, and everything from `#` to the end of a line is a comment, as with wg-quick.
    /// - Parameter bytes: The file; the caller wipes it.
    /// - Throws: The first error, with its line, what is wrong and what is accepted.
    public init(parsing bytes: [UInt8]) throws(WireGuardFileError) {
        guard bytes.count <= ConfigurationLimits.textBytesMax else {
            throw WireGuardFileError(
                line: 1, reason: "begins a file of \(bytes.count) bytes",
                accepted: "at most \(ConfigurationLimits.textBytesMax)")
        }
        var reader = WireGuardFileReader()
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            let isFirst = index == 0
            try reader.read(isFirst ? line.withoutByteOrderMark : line, number: index + 1)
        }
        self = try reader.finish(lastLine: lines.count)
    }

    /// Reads a file's text.
    public init(parsing text: String) throws(WireGuardFileError) {
        try self.init(parsing: Array(text.utf8))
    }
}

/// Collects the lines of a file.
private struct WireGuardFileReader {
    private enum Section {
        case none
        case interface
        /// With the line of its header and what was read so far; the key may still be missing.
        case peer(PeerSection)
    }

    private var interface: WireGuardFile.Interface?
    private var peers: [WireGuardFile.Peer] = []
    /// Lines of the peers' headers.
    private var peerLines: [Int] = []
    private var section = Section.none

    mutating func read(_ bytes: ArraySlice<UInt8>, number: Int) throws(WireGuardFileError) {
        guard bytes.count <= ConfigurationLimits.lineBytesMax else {
            throw WireGuardFileError(
                line: number, reason: "is \(bytes.count) bytes long",
                accepted: "at most \(ConfigurationLimits.lineBytesMax)")
        }
        let relevant = bytes.prefix { $0 != UInt8(ascii: "#") }
        if let setting = SecretSetting(relevant, line: number) { return try read(setting) }
        guard let decoded = String(validating: relevant, as: UTF8.self), !decoded.contains("\0")
        else {
            throw WireGuardFileError(
                line: number, reason: "is not text", accepted: "UTF-8 without zero bytes")
        }
        let text = decoded[...].trimmed
        if text.isEmpty { return }
        if text.hasPrefix("[") {
            try begin(section: text, number)
        } else {
            try read(setting: text, number)
        }
    }

    mutating func finish(lastLine: Int) throws(WireGuardFileError) -> WireGuardFile {
        try endSection()
        guard let interface else {
            throw WireGuardFileError(
                line: lastLine, reason: "ends a file without an [Interface] section",
                accepted: "one [Interface] section with PrivateKey and Address")
        }
        try requireOtherKeys(than: interface.privateKey?.publicKey)
        return WireGuardFile(interface: interface, peers: peers)
    }

    /// A device ignores a peer that has its own key, which would leave routes to nobody.
    private func requireOtherKeys(than own: PublicKey?) throws(WireGuardFileError) {
        guard let own, let index = peers.firstIndex(where: { $0.publicKey == own }) else { return }
        throw WireGuardFileError(
            line: peerLines[index], key: "[Peer]",
            reason: "has this interface's own public key \(own.base64)",
            accepted: "PublicKey = followed by the key of the other side")
    }

    private mutating func begin(
        section name: Substring, _ number: Int
    ) throws(WireGuardFileError) {
        try endSection()
        switch name.lowercased() {
        case "[interface]":
            interface = interface ?? WireGuardFile.Interface()
            section = .interface
        case "[peer]":
            guard peers.count < ConfigurationLimits.peersMax else {
                throw WireGuardFileError(
                    line: number, reason: "begins one peer too many",
                    accepted: "at most \(ConfigurationLimits.peersMax)")
            }
            section = .peer(PeerSection(line: number))
        default:
            throw WireGuardFileError(
                line: number, reason: "has the unknown section \(quoted(name))",
                accepted: "[Interface] and [Peer]")
        }
    }

    private mutating func endSection() throws(WireGuardFileError) {
        if case .peer(let finished) = section {
            peers.append(try finished.peer())
            peerLines.append(finished.line)
        }
        section = .none
    }

    private mutating func read(_ secret: SecretSetting) throws(WireGuardFileError) {
        switch (section, secret.kind) {
        case (.interface, .privateKey):
            interface?.privateKey = try secret.privateKey()
        case (.peer(var peer), .presharedKey):
            section = .none  // so that `peer` owns its list alone and appending does not copy it
            peer.presharedKey = try secret.presharedKey()
            section = .peer(peer)
        default:
            // The value is left out: it may be a key in the wrong place.
            try read(setting: "\(secret.kind.rawValue) =", secret.line)
        }
    }

    private mutating func read(
        setting text: Substring, _ number: Int
    ) throws(WireGuardFileError) {
        guard let separator = text.firstIndex(of: "=") else {
            throw WireGuardFileError(
                line: number, reason: "has no equals sign",
                accepted: "a section such as [Interface] or a setting such as ListenPort = 51820")
        }
        let setting = Setting(
            key: text[..<separator].trimmed,
            value: text[text.index(after: separator)...].trimmed, line: number)
        switch section {
        case .interface:
            try interface?.read(setting)
        case .peer(var peer):
            section = .none  // so that `peer` owns its list alone and appending does not copy it
            try peer.read(setting)
            section = .peer(peer)
        case .none:
            throw WireGuardFileError(
                line: number, reason: "has a setting before the first section",
                accepted: "[Interface] first")
        }
    }
}

extension ArraySlice<UInt8> {
    fileprivate var withoutByteOrderMark: ArraySlice<UInt8> {
        starts(with: [0xEF, 0xBB, 0xBF]) ? dropFirst(3) : self
    }
}
