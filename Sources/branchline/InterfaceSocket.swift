import Cryptography
import Foundation
import LinuxNetworking
import PacketFormats
import SystemPackage
import WireGuardConfiguration

/// The configuration socket of one interface, whichever program serves it.
///
/// Source: https://www.wireguard.com/xplatform/.
struct InterfaceSocket {
    let name: String

    /// - Throws: If the name cannot be that of an interface.
    init(name: String) throws {
        if let fault = InterfaceName.fault(in: name) {
            throw Failure.badInput("\"\(name)\" cannot name an interface: \(fault)")
        }
        self.name = name
    }

    /// The interfaces whose sockets answer, sorted by name.
    static func live() -> [InterfaceSocket] {
        let entries = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return entries.sorted().compactMap { entry in
            guard entry.hasSuffix(suffix) else { return nil }
            let socket = try? InterfaceSocket(name: String(entry.dropLast(suffix.count)))
            return socket?.isLive == true ? socket : nil
        }
    }

    var path: String { "\(Self.folder)/\(name)\(Self.suffix)" }

    /// Whether a program serves the interface, also one that only root may talk to.
    var isLive: Bool {
        do {
            try UnixSocket.connect(path).close()
            return true
        } catch {
            return ![.noSuchFileOrDirectory, .notDirectory, .connectionRefused].contains(error)
        }
    }

    /// Removes the file of a socket that nobody serves any more.
    ///
    /// - Returns: Whether there was one.
    func removeIfDead() -> Bool { UnixSocketListener.removeDead(path) }

    /// What `get=1` tells.
    func deviceStatus() throws -> DeviceStatus {
        var request = UAPI.getRequest
        var answer = try exchange(wiping: &request)
        defer { answer.wipe() }
        do {
            return try UAPI.parse(answer: answer, scope: interfaceIndex)
        } catch {
            throw Failure.failed("\(name) gave an answer that cannot be used: \(error)")
        }
    }

    /// What `status=1` tells; `nil` where another program than branchlined serves the interface.
    func engineStatus() throws -> EngineStatus? {
        var request = UAPI.statusRequest
        return try? EngineStatus(answer: exchange(wiping: &request))
    }

    /// What `qos=1` tells; `nil` where a program serves the interface that knows no QoS.
    func qosStatus() throws -> QoSStatus? {
        var request = UAPI.qosRequest
        let answer = try exchange(wiping: &request)
        return try? QoSStatus(answer: answer)
    }

    /// - Returns: `nil` where a program serves the interface that knows no QoS.
    func flows(_ query: FlowQuery) throws -> [FlowReport]? {
        var request = UAPI.serialize(query)
        let answer = try exchange(wiping: &request)
        return try? FlowReport.list(answer: answer)
    }

    /// - Returns: Whether the program that serves the interface knows QoS, and took the settings.
    func apply(_ settings: QoSSettings) throws -> Bool {
        var request = UAPI.serialize(settings)
        let answer = try exchange(wiping: &request)
        return (try? UAPI.requireSuccess(answer: answer)) != nil
    }

    func apply(_ settings: DeviceSettings) throws {
        var request = UAPI.serialize(settings)
        let answer = try exchange(wiping: &request)
        do {
            try UAPI.requireSuccess(answer: answer)
        } catch {
            let advice = advice(on: error, settings)
            throw Failure.failed("\(name) did not take its settings: \(advice)")
        }
    }

    private func advice(on error: UAPIError, _ settings: DeviceSettings) -> String {
        switch error.kind {
        case .addressInUse where settings.listenPort == nil:
            "the firewall mark cannot be set; run the daemon with CAP_NET_ADMIN"
        case .addressInUse: "another program uses the ListenPort; choose another or leave it out"
        case .notPermitted:
            "the daemon lacks the privilege for ListenPort or FwMark; run it with CAP_NET_ADMIN"
        default: error.description
        }
    }

    /// Sends a request, wipes it and reads the answer.
    private func exchange(wiping request: inout [UInt8]) throws -> [UInt8] {
        defer { request.wipe() }
        do throws(Errno) {
            let connection = try UnixSocket.connect(path)
            defer { connection.close() }
            try connection.send(request)
            try connection.finishSending()
            return try connection.readToEnd(
                timeoutNanoseconds: Self.answerNanosecondsMax,
                byteCountMax: ConfigurationLimits.textBytesMax)
        } catch {
            throw Failure.failed(explanation(of: error))
        }
    }

    private func explanation(of error: Errno) -> String {
        switch error {
        case .noSuchFileOrDirectory, .connectionRefused:
            "no interface named \(name) is run by branchlined; start with "
                + "`sudo branchline up \(name)`, or see `branchline show interfaces`"
        case .permissionDenied, .notPermitted:
            "\(path) may be used by root only; run with sudo"
        case .timedOut:
            "the program behind \(path) does not answer; look at its log, and restart it"
        default:
            "cannot talk to \(path): \(error)"
        }
    }

    static let folder = "/var/run/wireguard"
    private static let suffix = ".sock"
    private static let answerNanosecondsMax: UInt64 = 10_000_000_000
}

/// - Returns: The number of the interface in this network namespace.
func interfaceIndex(_ name: String) -> UInt32? {
    try? RoutingNetlink().linkByName(name).index
}
