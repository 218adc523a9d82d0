import ArgumentParser
import PacketFormats
import WireGuardConfiguration

/// A flow, or many, as a command's argument names them: one end, or two with a hyphen between.
struct FlowEnds: ExpressibleByArgument {
    struct End: Equatable {
        var address: IPAddress?
        var port: UInt16?

        /// Reads `10.0.0.2`, `10.0.0.2:443`, `fd00::1`, `[fd00::1]:443` and `*:443`.
        init?(_ text: Substring) {
            if let address = IPAddress(String(text)) {
                self.address = address
                return
            }
            guard let colon = text.lastIndex(of: ":"),
                let port: UInt16 = NumberText.decimal(text[text.index(after: colon)...])
            else { return nil }
            self.port = port
            let host = text[..<colon]
            if host == "*" { return }
            let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
            guard let address = IPAddress(String(isBracketed ? host.dropFirst().dropLast() : host)),
                address.isIPv4 != isBracketed
            else { return nil }
            self.address = address
        }
    }

    let text: String
    let first: End
    let second: End?

    init?(argument: String) {
        let ends = argument.split(
            separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = End(ends[0]) else { return nil }
        text = argument
        self.first = first
        if ends.count == 1 {
            second = nil
        } else if let other = End(ends[1]) {
            second = other
        } else {
            return nil
        }
    }

    var query: FlowQuery {
        FlowQuery(
            address: first.address, port: first.port, otherAddress: second?.address,
            otherPort: second?.port)
    }
}
