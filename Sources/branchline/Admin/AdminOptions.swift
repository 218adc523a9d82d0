public import ArgumentParser
public import ControlModel
import LinuxNetworking
import PacketFormats
import SystemPackage

/// How results are printed.
struct OutputOptions: ParsableArguments {
    @Flag(help: "Print JSON, as the coordinator's interface has it.")
    var json = false

    /// Prints a value as JSON where that was asked for, and otherwise as text.
    func print(_ value: some Encodable, _ text: () throws -> String) throws {
        guard json else { return try Console.write(try text()) }
        try Console.output(try APIJSON.encodePretty(value))
    }
}

/// Asking before something is taken away.
struct ConfirmOptions: ParsableArguments {
    @Flag(name: [.long, .short], help: "Do not ask.")
    var yes = false

    /// - Throws: Unless the answer is yes; without a terminal nobody is asked.
    func confirm(_ question: String) throws {
        if yes { return }
        guard Terminal.isTerminal(.standardInput) else {
            throw Failure.badInput("\(question) There is no terminal to ask on: give --yes.")
        }
        let answer = (try? Terminal.readLine(prompt: "\(question) [y/N] ")) ?? nil
        guard let answer, ["y", "yes"].contains(answer.lowercased()) else {
            throw Failure.failed("nothing was changed")
        }
    }
}

/// Which tenant is meant.
struct TenantOption: ParsableArguments {
    @Option(
        name: [.long, .short],
        help: "The tenant; may be left out where there is only one.", transform: Parse.name)
    var tenant: Name?
}

/// Readers of arguments, whose messages say what is wanted.
enum Parse {
    static func name(_ text: String) throws -> Name {
        guard let name = Name(text) else {
            throw ValidationError(
                "\(text) is not a name: 1 to 63 of a-z, 0-9 and hyphens inside")
        }
        return name
    }

    /// Seconds of `90d`, `24h`, `30m`, `45s` or `2w`.
    static func duration(_ text: String) throws -> Int64 {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800]
        guard let unit = text.last.flatMap({ units[$0] }), let count = Int64(text.dropLast()),
            count > 0, count <= 1_000_000
        else { throw ValidationError("\(text) is not a duration such as 90d, 24h or 30m") }
        return count * unit
    }
}

extension Role: ExpressibleByArgument {}
extension ClassCeiling: ExpressibleByArgument {}
extension TunnelProfile: ExpressibleByArgument {}
extension CoordinatorAPI.AccessRole: ExpressibleByArgument {}
extension CoordinatorAPI.NodeState: ExpressibleByArgument {}

extension Parse {
    /// A name or key that is to be put into a path.
    static func pathPart(_ text: String) throws -> String {
        guard !text.isEmpty, text.utf8.count <= 255, text != ".", text != "..",
            text.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || "-._".contains($0)) })
        else {
            throw Failure.badInput("\(Text.plain(text)) cannot be an id")
        }
        return text
    }
}

extension Parse {
    /// A network in CIDR form, or an address alone for one host.
    static func prefix(_ text: String) throws -> IPPrefix {
        guard let prefix = IPPrefix(text) else {
            throw ValidationError("\(text) is not a network such as 10.64.0.0/16")
        }
        let address = text.split(separator: "/").first.flatMap { IPAddress(String($0)) }
        guard address == prefix.address else {
            throw ValidationError(
                "\(text) is an address in the network \(prefix); give one or the other")
        }
        return prefix
    }
}
