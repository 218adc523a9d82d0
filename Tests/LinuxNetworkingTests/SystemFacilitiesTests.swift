import Glibc
import LinuxNetworking
import PacketFormats
import SystemPackage
import TestSupport
import Testing

@Suite struct ChildProcessTests {
    @Test(arguments: [("exit 7", 7), ("kill -KILL $$", 128 + SIGKILL), ("true", 0)])
    func endOfTheChildIsItsExitCode(_ command: String, _ code: Int32) throws {
        let child = try ChildProcess.start("/bin/sh", arguments: ["sh", "-c", command])
        #expect(try child.wait() == code)
    }

    @Test func childReadsItsInputFromTheStart() throws {
        let script = "test \"$(cat)\" = 'two words' && cat /dev/stdin | grep -q words"
        let child = try ChildProcess.start(
            "/bin/sh", arguments: ["sh", "-c", script], input: "two words")
        #expect(try child.wait() == 0)
    }

    @Test func inputThatNobodyReadsIsNoFailure() throws {
        let child = try ChildProcess.start(
            "/bin/true", arguments: ["true"], input: String(repeating: "x", count: 1 << 20))
        #expect(try child.wait() == 0)
    }

    @Test func missingProgramIsAnError() {
        #expect(throws: Errno.noSuchFileOrDirectory) {
            try ChildProcess.start("/no/such", arguments: ["such"])
        }
    }
}

@Suite struct PrivateFileTests {
    @Test func replacedFileIsTheOwnersOnly() throws {
        let path = temporaryPath("private")
        defer { unlink(path) }
        for text in ["a longer text", "short"] {
            try PrivateFile.replace(path, with: Array(text.utf8))
            let file = try FileDescriptor.open(FilePath(path), .readOnly)
            defer { try? file.close() }
            let read = try file.readToEnd(byteCountMax: 13)
            #expect(String(decoding: read, as: UTF8.self) == text)
            #expect(try FilePath(path).stat().permissions == .ownerReadWrite)
        }
        #expect(access(path + ".tmp", F_OK) != 0)
        #expect(throws: Errno.noSuchFileOrDirectory) {
            try PrivateFile.replace("/no/such/file", with: [])
        }
    }

    @Test func fileBeyondTheLimitIsNotRead() throws {
        let path = temporaryPath("large")
        defer { unlink(path) }
        try PrivateFile.replace(path, with: [UInt8](repeating: 1, count: 100_000))
        let file = try FileDescriptor.open(FilePath(path), .readOnly)
        defer { try? file.close() }
        #expect(try file.readToEnd(byteCountMax: 100_000).count == 100_000)
        try file.seek(offset: 0, from: .start)
        #expect(throws: Errno.fileTooLarge) { try file.readToEnd(byteCountMax: 99_999) }
    }
}

@Suite struct HostLookupTests {
    @Test(arguments: ["192.0.2.1", "2001:db8::1"])
    func addressIsItsOwnAnswer(_ text: String) throws {
        let endpoint = try HostLookup.endpoint(of: text, port: 7)
        let expected = try Endpoint(address: address(text), port: 7)
        #expect(endpoint == expected)
    }

    @Test func scopeIsTheInterfacesNumber() throws {
        #expect(try HostLookup.endpoint(of: "fe80::1%lo", port: 7).scope == 1)
    }

    @Test func impossibleNameFailsForGood() {
        // No server of names is asked, and may be late.
        let failure = #expect(throws: HostLookup.Failure.self) {
            try HostLookup.endpoint(of: "fe80::1%absent0", port: 7)
        }
        #expect(failure?.mayPass == false && failure?.description.isEmpty == false)
    }
}

@Suite(.enabled(if: isRoot, "needs root"))
struct RouteMTUTests {
    @Test(arguments: ["127.0.0.1", "::1"])
    func mtuIsThatOfTheDeviceOnTheWay(_ text: String) throws {
        try inNewNamespace(loopbackMTU: 4_321) {
            let endpoint = try Endpoint(address: address(text), port: 9)
            #expect(RouteMTU.of(endpoint) == 4_321)
        }
    }

    @Test(arguments: ["192.0.2.1", "2001:db8::1"])
    func endpointWithoutRouteHasNone(_ text: String) throws {
        try inNewNamespace {
            let endpoint = try Endpoint(address: address(text), port: 9)
            #expect(RouteMTU.of(endpoint) == nil)
        }
    }
}
