import Foundation
import Testing

/// The module table of the architecture, held by a test: who may import whom.
@Suite struct ImportArrowTests {
    /// Everything a module of ours may import, besides the Swift standard library.
    static let arrows: [String: Set<String>] = [
        "PacketMemory": [],
        "Telemetry": [],
        "QRCode": ["CQREncode"],
        "PathBenchmark": [],
        "Cryptography": ["CBlake2s", "CSodium", "CMultiBuffer", "Crypto", "PacketMemory"],
        "PacketFormats": ["PacketMemory"],
        "WireGuardProtocol": ["Cryptography", "PacketFormats", "PacketMemory"],
        "WireGuardConfiguration": ["Cryptography", "PacketFormats"],
        "EgressScheduling": ["PacketFormats", "PacketMemory"],
        "InferenceTraffic": ["PacketFormats", "PacketMemory"],
        "AccessControl": ["PacketFormats", "PacketMemory"],
        "ControlModel": ["Cryptography", "PacketFormats", "PacketMemory"],
        "CoordinatorClient": [
            "ControlModel", "Cryptography", "AsyncHTTPClient", "NIOCore", "NIOHTTP1", "NIOPosix",
            "NIOSSL", "SystemPackage",
        ],
        "Coordinator": [
            "ControlModel", "Cryptography", "PacketFormats", "PacketMemory", "Telemetry",
            "CPostgres", "Crypto", "FoundationEssentials", "Glibc", "GRDB", "HTTPTypes",
            "Hummingbird",
            "HummingbirdCore", "JWTKit", "Logging", "NIOCore", "NIOHTTP1", "NIOPosix",
            "NIOSSL", "ServiceLifecycle", "SwiftASN1", "SystemPackage", "X509",
        ],
        "LinuxNetworking": [
            "CLinux", "CNetlink", "PacketFormats", "PacketMemory", "SystemPackage", "Glibc",
        ],
        "TunnelEngine": [
            "AccessControl", "Cryptography", "PacketFormats", "PacketMemory", "WireGuardProtocol",
            "WireGuardConfiguration", "EgressScheduling", "InferenceTraffic", "Telemetry",
            "LinuxNetworking", "Logging", "SystemPackage",
        ],
        "NodeAgent": [
            "AccessControl", "ControlModel", "CoordinatorClient", "Cryptography",
            "LinuxNetworking", "PacketFormats", "PacketMemory", "TunnelEngine",
            "WireGuardConfiguration", "Logging", "SystemPackage",
        ],
        "Gateway": [
            "ControlModel", "Cryptography", "EgressScheduling", "LinuxNetworking", "NodeAgent",
            "PacketFormats", "TunnelEngine", "WireGuardConfiguration", "Logging", "SystemPackage",
        ],
        "branchlined": [
            "Gateway", "NodeAgent", "TunnelEngine", "LinuxNetworking", "WireGuardConfiguration",
            "PacketFormats", "ArgumentParser", "Logging", "Foundation", "SystemPackage",
        ],
        "branchline-coordinator": [
            "Coordinator", "ControlModel", "CLinux", "ArgumentParser", "Logging",
            "ServiceLifecycle", "UnixSignals", "Foundation",
        ],
        "branchline": [
            "AccessControl", "ControlModel", "CoordinatorClient", "Cryptography",
            "EgressScheduling", "Gateway",
            "LinuxNetworking", "NodeAgent", "PacketFormats", "PacketMemory", "PathBenchmark",
            "QRCode", "WireGuardConfiguration", "ArgumentParser", "Foundation", "SystemPackage", "Glibc",
        ],
    ]

    /// Standard library modules without clock, descriptor, thread or logger.
    static let standard: Set<String> = ["Swift", "Synchronization"]

    /// The C library's pure text functions (inet_pton) and memory functions, where named.
    static let pureGlibcFiles: Set<String> = ["IPAddress.swift"]

    /// Foundation's JSON coders, for statements that nobody reads per packet.
    static let coderFiles: Set<String> = [
        "ControlModel/CanonicalJSON.swift", "ControlModel/APIJSON.swift",
        "ControlModel/JSONShape.swift",
        "Gateway/GatewayJSON.swift",
    ]

    @Test(arguments: arrows.keys.sorted())
    func modulesImportOnlyWhatTheTableAllows(module: String) throws {
        let allowed = Self.arrows[module, default: []].union(Self.standard)
        for file in try SourceFile.all(of: module) {
            for name in file.imports where !allowed.contains(name) {
                let isPureText = name == "Glibc" && Self.pureGlibcFiles.contains(file.name)
                let isCoder = name == "FoundationEssentials"
                    && Self.coderFiles.contains("\(module)/\(file.name)")
                #expect(isPureText || isCoder, "\(module)/\(file.name) imports \(name)")
            }
        }
    }

    @Test func everyModuleIsInTheTable() throws {
        let modules = try FileManager.default.contentsOfDirectory(atPath: SourceFile.root)
            .filter { !$0.contains(/^C[A-Z]/) }
        #expect(Set(modules) == Set(Self.arrows.keys))
    }

    /// `unsafe` belongs where memory, ciphers and system calls are wrapped.
    @Test(arguments: [
        "WireGuardProtocol", "WireGuardConfiguration", "EgressScheduling", "InferenceTraffic",
        "AccessControl", "PathBenchmark", "Telemetry", "ControlModel", "CoordinatorClient", "TunnelEngine", "NodeAgent", "Gateway",
        "branchlined", "branchline",
    ])
    func unsafeCodeStaysInItsModules(module: String) throws {
        for file in try SourceFile.all(of: module) {
            let lines = file.codeLines.filter { $0.contains(/\bunsafe\b|@unchecked/) }
            #expect(lines.isEmpty, "\(module)/\(file.name): \(lines)")
        }
    }

    /// In the coordinator that is libpq alone.
    @Test func unsafeCodeOfTheCoordinatorIsForPostgreSQL() throws {
        for file in try SourceFile.all(of: "Coordinator")
        where !file.name.hasPrefix("PostgreSQL") {
            let lines = file.codeLines.filter { $0.contains(/\bunsafe\b|@unchecked/) }
            #expect(lines.isEmpty, "\(file.name): \(lines)")
        }
    }

    /// Optimised by Swift 6.3.1, an element that was read, stored and read again in one function
    /// can come out as it was at first (SIL redundant load elimination). Atomics are not affected.
    @Test(arguments: arrows.keys.sorted())
    func inlineArraysHoldAtomicsOnly(module: String) throws {
        for file in try SourceFile.all(of: module) {
            let lines = file.codeLines.filter {
                $0.contains("InlineArray<") && !$0.contains(/InlineArray<\d+, Atomic</)
            }
            #expect(lines.isEmpty, "\(module)/\(file.name): \(lines)")
        }
    }

    @Test(arguments: arrows.keys.sorted())
    func filesAndLinesStayReadable(module: String) throws {
        for file in try SourceFile.all(of: module) {
            #expect(file.lines.count <= 700, "\(module)/\(file.name)")
            let long = file.lines.filter { $0.count > 100 && !$0.contains("https://") }
            #expect(long.isEmpty, "\(module)/\(file.name): \(long)")
        }
    }
}

/// One file under Sources.
struct SourceFile {
    let name: String
    let lines: [String]

    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Sources").path

    static func all(of module: String) throws -> [SourceFile] {
        let folder = "\(root)/\(module)"
        let paths = try FileManager.default.subpathsOfDirectory(atPath: folder)
            .filter { $0.hasSuffix(".swift") }
        #expect(!paths.isEmpty, "\(module) has no sources")
        return try paths.map { path in
            let text = try String(contentsOfFile: "\(folder)/\(path)", encoding: .utf8)
            return SourceFile(
                name: (path as NSString).lastPathComponent,
                lines: text.components(separatedBy: "\n"))
        }
    }

    /// Names of imported modules, without submodules.
    var imports: [String] {
        lines.compactMap { line in
            guard
                let match = line.firstMatch(
                    of: /^(?:@[\w()]+\s+)*(?:public |internal |package |private |fileprivate )?import (?:struct |func |enum |class )?(\w+)/)
            else { return nil }
            return String(match.1)
        }
    }

    /// Lines without comments.
    var codeLines: [String] {
        lines.filter { !$0.trimmingCharacters(in: .whitespaces).hasPrefix("//") }
    }
}
