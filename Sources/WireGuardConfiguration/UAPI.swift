/// One request of the cross-platform configuration protocol.
public enum UAPIRequest: Sendable {
    case get
    case set(DeviceSettings)
    /// Ours: answered with an ``EngineStatus``.
    case status
    /// Ours: answered with a ``QoSStatus``.
    case qos
    /// Ours: takes the place of all QoS settings before.
    case setQoS(QoSSettings)
    /// Ours: answered with a list of ``FlowReport``.
    case flows(FlowQuery)
}

/// The text protocol on an interface's Unix socket: requests and answers are lines of
/// `key=value` up to an empty line.
///
/// A `set` request is read whole before any of it is applied, so a refused request changes
/// nothing.
///
/// Source: https://www.wireguard.com/xplatform/, and wireguard-go where that is silent.
public enum UAPI {
    /// Finds the interface number of a scope such as the `eth0` of `fe80::1%eth0`.
    public typealias ScopeResolver = (String) -> UInt32?

    /// Reads one request.
    ///
    /// - Parameters:
    ///   - request: All its lines; whether the empty line is among them does not matter. The caller
    ///     wipes it.
    ///   - scope: Asked about scopes that are not numbers.
    /// - Throws: With the line and what is accepted there.
    public static func parse(
        request: [UInt8], scope: @escaping ScopeResolver = { _ in nil }
    ) throws(UAPIError) -> UAPIRequest {
        guard request.count <= ConfigurationLimits.textBytesMax else { throw tooLarge }
        var lines = request.split(
            separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)[...]
        let operation = lines.popFirst().map { String(decoding: $0, as: UTF8.self) } ?? ""
        switch operation {
        case "get=1", "status=1", "qos=1":
            guard lines.allSatisfy(\.isEmpty) else {
                throw UAPIError(.invalid, line: 2, "nothing may follow \(operation)")
            }
            return operation == "get=1" ? .get : operation == "status=1" ? .status : .qos
        case "set=1":
            var reader = SetRequestReader(scope: scope)
            try forEachPair(of: lines, firstLine: 2) { line, key, value throws(UAPIError) in
                try reader.read(key: key, value: value, line: line)
            }
            return .set(reader.finish())
        case "set_qos=1":
            var reader = SetQoSReader()
            try forEachPair(of: lines, firstLine: 2) { line, key, value throws(UAPIError) in
                let value = String(decoding: value, as: UTF8.self)
                try reader.read(key: key, value: value, line: line)
            }
            return .setQoS(try reader.finish())
        case "flows=1":
            var query = FlowQuery()
            try forEachPair(of: lines, firstLine: 2) { line, key, value throws(UAPIError) in
                try query.read(key, String(decoding: value, as: UTF8.self), line)
            }
            return .flows(query)
        default:
            throw UAPIError(
                .protocolViolation, line: 1,
                "unknown operation; accepted: get=1, set=1, status=1, qos=1, set_qos=1 and "
                    + "flows=1")
        }
    }

    /// Reads one request from text.
    public static func parse(
        request: String, scope: @escaping ScopeResolver = { _ in nil }
    ) throws(UAPIError) -> UAPIRequest {
        try parse(request: Array(request.utf8), scope: scope)
    }

    static var tooLarge: UAPIError {
        UAPIError(
            .protocolViolation,
            "more than \(ConfigurationLimits.textBytesMax) bytes in one request or answer")
    }

    /// Calls `body` for each line up to the first empty one. The value may be a key, so it stays
    /// what can be wiped.
    static func forEachPair(
        of lines: ArraySlice<ArraySlice<UInt8>>, firstLine: Int,
        _ body: (
            _ line: Int, _ key: String, _ value: ArraySlice<UInt8>
        ) throws(UAPIError) -> Void
    ) throws(UAPIError) {
        for (offset, bytes) in lines.enumerated() {
            if bytes.isEmpty { return }
            let line = firstLine + offset
            guard bytes.count <= ConfigurationLimits.lineBytesMax else {
                throw UAPIError(
                    .protocolViolation, line: line,
                    "longer than \(ConfigurationLimits.lineBytesMax) bytes")
            }
            guard let separator = bytes.firstIndex(of: UInt8(ascii: "=")) else {
                throw UAPIError(.protocolViolation, line: line, "not of the form key=value")
            }
            let key = String(decoding: bytes[..<separator], as: UTF8.self)
            try body(line, key, bytes[(separator + 1)...])
        }
    }
}
