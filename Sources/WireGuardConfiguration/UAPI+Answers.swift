internal import Cryptography
internal import PacketFormats

extension UAPI {
    /// Reads the answer to a `get=1` request. Keys that this version does not know are passed over.
    ///
    /// - Parameters:
    ///   - answer: Everything up to and with `errno=`.
    ///   - scope: Asked about scopes that are not numbers.
    /// - Throws: Also if the answer itself reports a failure.
    public static func parse(
        answer: [UInt8], scope: ScopeResolver = { _ in nil }
    ) throws(UAPIError) -> DeviceStatus {
        var status = DeviceStatus()
        var peer: PeerStatus?
        try forEachAnswerPair(of: answer) { line, key, value throws(UAPIError) in
            if key == "public_key" {
                if let finished = peer { status.peers.append(finished) }
                guard let publicKey = PublicKey(hex: String(decoding: value, as: UTF8.self))
                else { throw malformed(key, line) }
                peer = PeerStatus(publicKey: publicKey)
            } else if var changed = peer {
                peer = nil
                try read(key, value, line, into: &changed, scope)
                peer = changed
            } else {
                try read(key, value, line, into: &status)
            }
        }
        if let finished = peer { status.peers.append(finished) }
        return status
    }

    /// Reads the answer to a `set=1` request.
    ///
    /// - Throws: If it reports a failure or is not an answer.
    public static func requireSuccess(answer: [UInt8]) throws(UAPIError) {
        try forEachAnswerPair(of: answer) { _, _, _ throws(UAPIError) in }
    }

    /// Calls `body` for each line before `errno=`.
    static func forEachAnswerPair(
        of answer: [UInt8],
        _ body: (
            _ line: Int, _ key: String, _ value: ArraySlice<UInt8>
        ) throws(UAPIError) -> Void
    ) throws(UAPIError) {
        guard answer.count <= ConfigurationLimits.textBytesMax else { throw tooLarge }
        let lines = answer.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        var isComplete = false
        try forEachPair(of: lines[...], firstLine: 1) { line, key, value throws(UAPIError) in
            if key == "errno" {
                try requireZero(errorNumber: value, line)
                isComplete = true
            } else {
                try body(line, key, value)
            }
        }
        guard isComplete else {
            throw UAPIError(.inputOutput, "the answer ended before its errno line")
        }
    }

    /// Some programs negate the number and some do not.
    private static func requireZero(
        errorNumber value: ArraySlice<UInt8>, _ line: Int
    ) throws(UAPIError) {
        let digits = value.first == UInt8(ascii: "-") ? value.dropFirst() : value
        guard let number: Int32 = NumberText.value(of: digits, radix: 10)
        else { throw malformed("errno", line) }
        guard number != 0 else { return }
        throw UAPIError(
            UAPIError.Kind(rawValue: number) ?? .unknown,
            "the request was refused with error number \(number)")
    }

    private static func read(
        _ key: String, _ value: ArraySlice<UInt8>, _ line: Int, into status: inout DeviceStatus
    ) throws(UAPIError) {
        var text: String { String(decoding: value, as: UTF8.self) }
        switch key {
        case "private_key":
            guard !isZeroKey(value) else { return }
            guard let privateKey = PrivateKey(hex: value) else { throw malformed(key, line) }
            status.privateKey = privateKey
        case "listen_port": status.listenPort = try number(key, text, line)
        case "fwmark": status.firewallMark = try number(key, text, line)
        default: return
        }
    }

    private static func read(
        _ key: String, _ value: ArraySlice<UInt8>, _ line: Int, into peer: inout PeerStatus,
        _ scope: ScopeResolver
    ) throws(UAPIError) {
        var text: String { String(decoding: value, as: UTF8.self) }
        switch key {
        case "preshared_key":
            guard !isZeroKey(value) else { return }
            guard let presharedKey = PresharedKey(hex: value) else { throw malformed(key, line) }
            peer.presharedKey = presharedKey
        case "profile":
            peer.profile = try profile(key, text, line)
        case "endpoint":
            guard let endpoint = Endpoint(text, scope: scope) else {
                throw malformed(key, line)
            }
            peer.endpoint = endpoint
        case "last_handshake_time_sec": peer.lastHandshakeSeconds = try number(key, text, line)
        case "last_handshake_time_nsec":
            peer.lastHandshakeNanoseconds = try number(key, text, line)
        case "tx_bytes": peer.transmittedBytes = try number(key, text, line)
        case "rx_bytes": peer.receivedBytes = try number(key, text, line)
        case "persistent_keepalive_interval":
            peer.persistentKeepaliveSeconds = try number(key, text, line)
        case "allowed_ip":
            guard let prefix = IPPrefix(text) else { throw malformed(key, line) }
            peer.allowedIPs.append(prefix)
        default: return
        }
    }

    static func number<Value: FixedWidthInteger>(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> Value {
        guard let number: Value = NumberText.decimal(value) else { throw malformed(key, line) }
        return number
    }

    static func profile(
        _ key: String, _ value: String, _ line: Int
    ) throws(UAPIError) -> TunnelProfile {
        guard let profile = TunnelProfile(rawValue: value) else { throw malformed(key, line) }
        return profile
    }

    static func malformed(_ key: String, _ line: Int) -> UAPIError {
        UAPIError(.protocolViolation, line: line, "the answer's \(key) cannot be read")
    }
}
