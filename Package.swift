// swift-tools-version: 6.2
import PackageDescription

/// `BRANCHLINE_TESTING=1 swift build -c release --build-tests`, as Tests/run.sh does: tests of
/// optimised modules, which have faults of their own, with assertions. Programs are built without.
let testing: [SwiftSetting] =
    Context.environment["BRANCHLINE_TESTING"] == nil
    ? []
    : [
        .unsafeFlags(
            ["-enable-testing", "-assert-config", "Debug"], .when(configuration: .release))
    ]

/// Tests themselves need not be fast, and are many.
let unoptimised: [SwiftSetting] =
    testing.isEmpty ? [] : [.unsafeFlags(["-Onone"], .when(configuration: .release))]

let strict: [SwiftSetting] =
    testing + [
        .strictMemorySafety(),
        .treatAllWarnings(as: .error),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ]

/// libipsec-mb exists for x86-64 only; elsewhere libsodium encrypts packets.
#if arch(x86_64)
let multiBuffer: [Target.Dependency] = ["CMultiBuffer"]
let multiBufferTargets: [Target] = [
    .systemLibrary(name: "CMultiBuffer", providers: [.apt(["libipsec-mb-dev"])])
]
#else
let multiBuffer: [Target.Dependency] = []
let multiBufferTargets: [Target] = []
#endif

let argumentParser = Target.Dependency.product(
    name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let httpClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let hummingbirdTesting = Target.Dependency.product(
    name: "HummingbirdTesting", package: "hummingbird")
let jwtKit = Target.Dependency.product(name: "JWTKit", package: "jwt-kit")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioFoundationCompat = Target.Dependency.product(
    name: "NIOFoundationCompat", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let serviceLifecycle = Target.Dependency.product(
    name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals = Target.Dependency.product(
    name: "UnixSignals", package: "swift-service-lifecycle")
let swiftASN1 = Target.Dependency.product(name: "SwiftASN1", package: "swift-asn1")
let swiftCrypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let x509 = Target.Dependency.product(name: "X509", package: "swift-certificates")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

func module(
    _ name: String, _ dependencies: [Target.Dependency] = [], path: String? = nil
) -> Target {
    .target(name: name, dependencies: dependencies, path: path, swiftSettings: strict)
}

func program(_ name: String, _ dependencies: [Target.Dependency], path: String? = nil) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: path, swiftSettings: strict)
}

func tests(
    of name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource] = [],
    settings: [SwiftSetting] = unoptimised
) -> Target {
    .testTarget(
        name: "\(name)Tests",
        dependencies: [.init(stringLiteral: name), "TestSupport"] + dependencies,
        resources: resources, swiftSettings: settings)
}

let package = Package(
    name: "branchline",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.0"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        // Without its traits there is less to build. Besides, SwiftPM passes the defines of two
        // traits in random order, so that each new plan would compile Hummingbird again.
        .package(
            url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0", traits: []),
        .package(
            url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(
            url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.0"),
    ],
    targets: multiBufferTargets + [
        .systemLibrary(
            name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
        .systemLibrary(name: "CNetlink", pkgConfig: "libmnl", providers: [.apt(["libmnl-dev"])]),
        .systemLibrary(
            name: "CQREncode", pkgConfig: "libqrencode", providers: [.apt(["libqrencode-dev"])]),
        .systemLibrary(name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .target(name: "CLinux"),
        .target(name: "CBlake2s"),

        module("PacketMemory"),
        module(
            "Cryptography", ["PacketMemory", "CBlake2s", "CSodium", swiftCrypto] + multiBuffer),
        module("PacketFormats", ["PacketMemory"]),
        module("WireGuardProtocol", ["Cryptography", "PacketFormats", "PacketMemory"]),
        module("WireGuardConfiguration", ["Cryptography", "PacketFormats"]),
        module("EgressScheduling", ["PacketFormats", "PacketMemory"]),
        module("InferenceTraffic", ["PacketFormats", "PacketMemory"]),
        module("AccessControl", ["PacketFormats", "PacketMemory"]),
        module("Telemetry"),
        module("QRCode", ["CQREncode"]),
        module("PathBenchmark"),
        module("ControlModel", ["Cryptography", "PacketFormats", "PacketMemory"]),
        module(
            "CoordinatorClient",
            ["ControlModel", "Cryptography", httpClient, nioCore, nioPosix, nioSSL, system]),
        module(
            "Coordinator",
            [
                "ControlModel", "Cryptography", "PacketFormats", "PacketMemory", "Telemetry",
                "CPostgres", grdb, httpTypes, hummingbird, jwtKit, logging, nioCore,
                nioHTTP1, nioPosix, nioSSL, serviceLifecycle, swiftASN1, swiftCrypto, system, x509,
            ]),
        module("LinuxNetworking", ["CLinux", "CNetlink", "PacketFormats", "PacketMemory", system]),
        module(
            "TunnelEngine",
            [
                "AccessControl", "Cryptography", "PacketFormats", "WireGuardProtocol",
                "WireGuardConfiguration", "EgressScheduling", "InferenceTraffic", "Telemetry",
                "LinuxNetworking", "PacketMemory", logging, system,
            ]),
        module(
            "NodeAgent",
            [
                "AccessControl", "ControlModel", "CoordinatorClient", "Cryptography",
                "LinuxNetworking", "PacketFormats", "PacketMemory", "TunnelEngine",
                "WireGuardConfiguration", logging, system,
            ]),
        module(
            "Gateway",
            [
                "ControlModel", "Cryptography", "EgressScheduling", "LinuxNetworking",
                "NodeAgent", "PacketFormats", "TunnelEngine", "WireGuardConfiguration", logging,
                system,
            ]),
        program(
            "branchlined",
            [
                "Gateway", "NodeAgent", "TunnelEngine", "LinuxNetworking", "PacketFormats",
                "WireGuardConfiguration",
                argumentParser, logging, system,
            ]),
        program(
            "branchline",
            [
                "AccessControl", "ControlModel", "CoordinatorClient", "Cryptography",
                "EgressScheduling", "Gateway", "LinuxNetworking", "NodeAgent", "PacketFormats",
                "PacketMemory", "PathBenchmark", "QRCode", "WireGuardConfiguration",
                argumentParser, system,
            ]),
        program(
            "branchline-coordinator",
            [
                "Coordinator", "ControlModel", "CLinux", argumentParser, logging,
                serviceLifecycle, unixSignals,
            ]),
        program(
            "cipher-benchmark", ["Cryptography", "PacketMemory"], path: "Tests/Benchmarks/cipher"),
        program(
            "peer-emulator",
            [
                "Cryptography", "LinuxNetworking", "PacketFormats", "PacketMemory",
                "WireGuardProtocol", argumentParser,
            ], path: "Tests/Benchmarks/emulator"),
        program(
            "wan-relay",
            ["LinuxNetworking", "PacketFormats", "PacketMemory", argumentParser, system],
            path: "Tests/Support/wan"),
        module(
            "LoadGeneration",
            [
                httpClient, nioCore, nioFoundationCompat, nioHTTP1, nioSSL,
            ], path: "Examples/LoadGenerator/Sources/LoadGeneration"),
        program(
            "load-generator",
            ["LoadGeneration", argumentParser, httpClient, nioCore, nioSSL],
            path: "Examples/LoadGenerator/Sources/load-generator"),
        module(
            "SimulatedInference",
            ["CSodium", hummingbird, hummingbirdCore, logging, nioCore, nioFoundationCompat],
            path: "Examples/InferenceServer/Sources/SimulatedInference"),
        program(
            "InferenceServer",
            [
                "SimulatedInference", hummingbird, argumentParser, logging, nioCore,
                serviceLifecycle, unixSignals,
            ],
            path: "Examples/InferenceServer/Sources/InferenceServer"),

        module(
            "TestSupport",
            ["LinuxNetworking", "PacketMemory", "CLinux", "CTestSupport", system],
            path: "Tests/TestSupport"),
        .target(name: "CTestSupport", path: "Tests/CTestSupport"),
        .target(name: "CAllocationCounter", path: "Tests/AllocationCounter"),
        tests(of: "Cryptography", ["PacketMemory"], resources: [.copy("Vectors")]),
        tests(of: "PacketFormats", ["PacketMemory"]),
        tests(
            of: "WireGuardProtocol", ["Cryptography", "PacketFormats", "PacketMemory"],
            resources: [.copy("Vectors")]),
        tests(of: "WireGuardConfiguration", ["Cryptography", "PacketFormats"]),
        tests(of: "EgressScheduling", ["PacketFormats", "PacketMemory", "CAllocationCounter"]),
        tests(of: "InferenceTraffic", ["PacketFormats", "PacketMemory", "CAllocationCounter"]),
        tests(of: "AccessControl", ["PacketFormats", "PacketMemory"]),
        tests(of: "Telemetry"),
        tests(of: "QRCode"),
        tests(of: "PathBenchmark"),
        tests(of: "ControlModel", ["Cryptography", "PacketFormats", "PacketMemory"]),
        tests(
            of: "CoordinatorClient", ["ControlModel", "Cryptography", nioCore, nioPosix, nioSSL]),
        tests(
            of: "Coordinator",
            [
                "ControlModel", "Cryptography", "PacketFormats", "PacketMemory", "Telemetry",
                httpTypes, hummingbird, logging, nioCore, nioEmbedded, nioHTTP1, nioSSL,
                swiftCrypto,
            ]),
        tests(of: "LinuxNetworking", ["PacketFormats", "PacketMemory", "CLinux", system]),
        tests(
            of: "TunnelEngine",
            [
                "AccessControl", "Cryptography", "EgressScheduling", "InferenceTraffic",
                "PacketFormats", "WireGuardProtocol",
                "WireGuardConfiguration", "LinuxNetworking", "PacketMemory", "Telemetry",
                "CAllocationCounter", logging, system,
            ],
            // They count allocations around code of their own.
            settings: []),
        tests(
            of: "NodeAgent",
            [
                "AccessControl", "ControlModel", "Cryptography", "LinuxNetworking", "PacketFormats",
                "PacketMemory", "WireGuardConfiguration", system,
            ]),
        tests(
            of: "Gateway",
            [
                "Cryptography", "EgressScheduling", "LinuxNetworking", "NodeAgent", "PacketFormats",
                "TunnelEngine", "WireGuardConfiguration",
            ]),
        .testTarget(name: "StructureTests"),
        .testTarget(
            name: "LoadGenerationTests", dependencies: ["LoadGeneration", nioCore],
            path: "Examples/LoadGenerator/Tests/LoadGenerationTests"),
        .testTarget(
            name: "SimulatedInferenceTests",
            dependencies: ["SimulatedInference", hummingbird, hummingbirdTesting, logging, nioCore],
            path: "Examples/InferenceServer/Tests/SimulatedInferenceTests"),
    ]
)
