// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
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
    of name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource] = []
) -> Target {
    .testTarget(
        name: "\(name)Tests",
        dependencies: [.init(stringLiteral: name), "TestSupport"] + dependencies,
        resources: resources)
}

let package = Package(
    name: "branchline",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    ],
    targets: multiBufferTargets + [
        .systemLibrary(
            name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
        .systemLibrary(name: "CNetlink", pkgConfig: "libmnl", providers: [.apt(["libmnl-dev"])]),
        .target(name: "CLinux"),

        module("PacketMemory"),
        module("Cryptography", ["PacketMemory", "CSodium"] + multiBuffer),
        module("PacketFormats", ["PacketMemory"]),
        module("WireGuardProtocol", ["Cryptography", "PacketFormats", "PacketMemory"]),
        module("WireGuardConfiguration", ["Cryptography", "PacketFormats"]),
        module("EgressScheduling", ["PacketFormats", "PacketMemory"]),
        module("Telemetry"),
        module("ControlModel", ["Cryptography", "PacketFormats", "PacketMemory"]),
        module("LinuxNetworking", ["CLinux", "CNetlink", "PacketFormats", "PacketMemory", system]),
        module(
            "TunnelEngine",
            [
                "Cryptography", "PacketFormats", "WireGuardProtocol", "WireGuardConfiguration",
                "EgressScheduling", "Telemetry", "LinuxNetworking", "PacketMemory", logging, system,
            ]),
        program(
            "branchlined",
            [
                "TunnelEngine", "LinuxNetworking", "PacketFormats", "WireGuardConfiguration",
                argumentParser, logging, system,
            ]),
        program(
            "branchline",
            [
                "Cryptography", "PacketFormats", "WireGuardConfiguration", "LinuxNetworking",
                argumentParser, system,
            ]),
        program(
            "cipher-benchmark", ["Cryptography", "PacketMemory"], path: "Tests/Benchmarks/cipher"),

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
        tests(of: "EgressScheduling", ["PacketFormats", "PacketMemory"]),
        tests(of: "Telemetry"),
        tests(of: "ControlModel", ["Cryptography", "PacketFormats", "PacketMemory"]),
        tests(of: "LinuxNetworking", ["PacketFormats", "PacketMemory", "CLinux", system]),
        tests(
            of: "TunnelEngine",
            [
                "Cryptography", "EgressScheduling", "PacketFormats", "WireGuardProtocol",
                "LinuxNetworking", "PacketMemory", "Telemetry", "CAllocationCounter",
            ]),
        .testTarget(name: "StructureTests"),
    ]
)
