import Testing

/// Drop reasons that status output shows stand for something that can happen.
@Suite struct DropReasonTests {
    @Test func everyDropReasonIsGivenSomewhere() throws {
        let files = try ["WireGuardProtocol", "TunnelEngine"].flatMap { try SourceFile.all(of: $0) }
        let list = try #require(files.first { $0.name == "DropReason.swift" })
        let names = list.codeLines.compactMap { line in
            line.firstMatch(of: /^    case (\w+)$/).map { String($0.1) }
        }
        #expect(names.count > 20)
        let code = files.filter { $0.name != "DropReason.swift" }.flatMap(\.codeLines)
        for name in names {
            let isGiven = code.contains {
                $0.contains(".\(name))") || $0.contains(".\(name),") || $0.contains(".\(name) :")
                    || $0.hasSuffix(".\(name)")
            }
            #expect(isGiven, "nothing is dropped for \(name)")
        }
    }
}
