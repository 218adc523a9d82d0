import Foundation
import NIOSSL
import Testing

@testable import Coordinator

@Suite struct TLSIdentityTests {
    private let now = Date(timeIntervalSince1970: 1_800_000_000)
    private let day: Double = 86_400

    @Test func theFirstStartMakesAKeyThatOthersCannotRead() throws {
        let folder = try TemporaryFolder()
        let identity = try TLSIdentity(
            folder: StateFolder(path: folder.path), names: ["hq.example", "192.0.2.1"], now: now)
        #expect(identity.chain.count == 1)
        #expect(try folder.permissions(of: "tls.key") == 0o600)
        let again = try TLSIdentity(
            folder: StateFolder(path: folder.path), names: ["hq.example", "192.0.2.1"],
            now: now + day)
        #expect(again.chain == identity.chain)
        #expect(again.pin == identity.pin)
    }

    @Test func renewalKeepsThePin() throws {
        let folder = try TemporaryFolder()
        let state = try StateFolder(path: folder.path)
        let first = try TLSIdentity(folder: state, names: ["hq.example"], now: now)
        let kept = try TLSIdentity(folder: state, names: ["hq.example"], now: now + 336 * day)
        #expect(kept.chain == first.chain)
        let renewed = try TLSIdentity(folder: state, names: ["hq.example"], now: now + 338 * day)
        #expect(renewed.chain != first.chain)
        #expect(renewed.pin == first.pin)
    }

    @Test func otherNamesMakeAnotherCertificateWithTheSamePin() throws {
        let folder = try TemporaryFolder()
        let state = try StateFolder(path: folder.path)
        let first = try TLSIdentity(folder: state, names: ["hq.example"], now: now)
        let other = try TLSIdentity(folder: state, names: ["hq.example", "::1"], now: now)
        #expect(other.chain != first.chain)
        #expect(other.pin == first.pin)
    }

    @Test func aBrokenKeyIsNotReplaced() throws {
        let folder = try TemporaryFolder()
        _ = try folder.write("tls.key", "nonsense")
        #expect(throws: StateFault.self) {
            try TLSIdentity(
                folder: StateFolder(path: folder.path), names: ["hq.example"], now: now)
        }
    }

    @Test func aCertificateOfAnotherKeyIsRefused() throws {
        let (first, second) = (try TemporaryFolder(), try TemporaryFolder())
        for folder in [first, second] {
            _ = try TLSIdentity(
                folder: StateFolder(path: folder.path), names: ["hq.example"], now: now)
        }
        #expect(throws: StateFault.self) {
            try TLSIdentity(
                certificateFile: "\(first.path)/tls.crt", keyFile: "\(second.path)/tls.key")
        }
        #expect(throws: Never.self) {
            try TLSIdentity(
                certificateFile: "\(first.path)/tls.crt", keyFile: "\(first.path)/tls.key")
        }
    }

    @Test func namesAreThoseOfTheURLAndTheAddress() {
        func names(_ url: String, _ host: String) -> [String] {
            ServerNames(publicURL: url, listenHost: host, hostName: "box").names
        }
        #expect(names("https://HQ.example:8443", "192.0.2.1") == ["hq.example", "192.0.2.1"])
        #expect(names("https://[2001:db8::1]", "::1") == ["2001:db8::1", "::1"])
        #expect(
            names("https://hq.example", "0.0.0.0")
                == ["hq.example", "box", "localhost", "127.0.0.1", "::1"])
        #expect(ServerNames.host(of: "http://hq.example") == nil)
        #expect(ServerNames.host(of: "https://hq.example/path") == nil)
        #expect(ServerNames.host(of: "https://user@hq.example") == nil)
    }
}

@Suite struct SetupCodeTests {
    @Test func theCodeIsMadeOnceAndGoes() throws {
        let folder = try TemporaryFolder()
        let state = try StateFolder(path: folder.path)
        let code = SetupCode(folder: state)
        #expect(code.currentHash == nil)
        #expect(try code.prepare())
        #expect(try folder.permissions(of: "setup-code") == 0o600)
        let hash = code.currentHash
        #expect(hash?.count == 32)
        let again = SetupCode(folder: state)
        #expect(try !again.prepare())
        #expect(again.currentHash == hash)
        again.remove()
        #expect(again.currentHash == nil)
        #expect(!FileManager.default.fileExists(atPath: "\(folder.path)/setup-code"))
    }

    @Test func whatIsNoCodeIsRefused() throws {
        let folder = try TemporaryFolder()
        _ = try folder.write("setup-code", "hello\n")
        #expect(throws: StateFault.self) {
            try SetupCode(folder: StateFolder(path: folder.path)).prepare()
        }
    }
}
