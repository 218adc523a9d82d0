import ControlModel
import Foundation
import Testing

@testable import NodeAgent

/// The local file: sound, broken, gone.
@Suite struct QoSFileTests {
    private let path = NSTemporaryDirectory() + "qos-\(UUID().uuidString).json"

    private func write(_ text: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }

    @Test func theFileOfAnInterfaceIsInItsFolder() {
        #expect(QoSFile.standard(of: "wg0").path == "/etc/branchline/qos/wg0.json")
    }

    @Test func aSoundFileIsReadAndAMissingOneIsNone() throws {
        let missing = try QoSFile(path: path).read()
        #expect(missing == nil)
        try write(#"{"link":{"rate":8000}}"#)
        let read = try QoSFile(path: path).read()
        #expect(read?.link == .init(rate: 8_000))
        try FileManager.default.removeItem(atPath: path)
    }

    @Test func whatIsWrongIsNamedWithTheFile() throws {
        try write(#"{"link":{"rate":1}}"#)
        #expect(throws: QoSFileFault(
            "\(path) is not used: link: rate is 8000 to 10000000000000 bits per second")
        ) { try QoSFile(path: path).read() }
        try FileManager.default.removeItem(atPath: path)
        #expect(throws: QoSFileFault.self) { try QoSFile(path: "/").read() }
        // A device without an end is bounded.
        #expect(throws: QoSFileFault("/dev/zero is larger than 4194304 bytes")) {
            try QoSFile(path: "/dev/zero").read()
        }
    }

    @Test func onlyChangesAreTold() throws {
        var local = LocalQoS(QoSFile(path: path))
        let nothing = local.look()
        #expect(!nothing && local.policy == nil)
        try write(#"{"classify":false}"#)
        let came = local.look(), stayed = local.look()
        #expect(came && !stayed && local.policy?.classify == false)
        try write("{")
        let broke = local.look(), stayedBroken = local.look()
        #expect(broke && !stayedBroken)
        #expect(local.policy?.classify == false, "what was sound counts on")
        #expect(local.fault?.hasPrefix("\(path) is not used: it is not JSON") == true)
        try FileManager.default.removeItem(atPath: path)
        let went = local.look()
        #expect(went && local.policy == nil && local.fault == nil)
    }
}
