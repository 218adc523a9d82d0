import Testing
import WireGuardConfiguration

/// Which operation is asked for, and where a request ends.
@Suite struct UAPIRequestTests {
    @Test func operationsAreTold() throws {
        guard case .get = try UAPI.parse(request: UAPI.getRequest),
            case .status = try UAPI.parse(request: UAPI.statusRequest),
            case .set = try UAPI.parse(request: "set=1\n\n"),
            case .qos = try UAPI.parse(request: UAPI.qosRequest),
            case .setQoS = try UAPI.parse(request: "set_qos=1\n\n"),
            case .flows = try UAPI.parse(request: "flows=1\n\n")
        else {
            Issue.record("an operation was taken for another")
            return
        }
    }

    @Test(arguments: ["", "\n\n", "get=2\n\n", "get\n\n", "GET=1\n\n", " get=1\n\n", "set=1\r\n\n"])
    func otherOperationsAreRefused(_ request: String) {
        let error = failure { () throws(UAPIError) in _ = try UAPI.parse(request: request) }
        #expect(error?.kind == .protocolViolation)
    }

    @Test(arguments: ["get=1", "status=1", "qos=1"])
    func nothingMayFollowAQuestion(operation: String) {
        let error = failure { () throws(UAPIError) in
            _ = try UAPI.parse(request: "\(operation)\nx\n")
        }
        #expect(error?.errorNumber == -22)
    }

    @Test func oversizedRequestsAreRefused() {
        let bytes = [UInt8](repeating: 10, count: ConfigurationLimits.textBytesMax + 1)
        let error = failure { () throws(UAPIError) in _ = try UAPI.parse(request: bytes) }
        #expect(error?.kind == .protocolViolation)
    }

    @Test func theBufferCutsRequestsHoweverTheyArrive() throws {
        let expected = [
            "get=1\n\n", "set=1\nlisten_port=1\n\n", "status=1\n\n", "qos=1\n\n",
            "set_qos=1\nclassify=true\n\n", "flows=1\nport=1\n\n",
        ]
        let text = expected.joined()
        for partSize in 1...text.utf8.count {
            var buffer = UAPIRequestBuffer()
            var requests: [String] = []
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                buffer.receive(upTo: 1_000) { $0 += rest.prefix(partSize) }
                rest = rest.dropFirst(partSize)
                while let request = try buffer.next() {
                    requests.append(String(decoding: request, as: UTF8.self))
                }
            }
            #expect(requests == expected)
            #expect(buffer.isEmpty)
        }
    }

    @Test(arguments: [
        "hello\n", "get=1\nx", "\n", "status=1\nx\n", "get=1\r\n", "qos=1\nx", "set_qos=2\n",
    ])
    func theBufferRefusesNonsenseAtOnce(_ text: String) {
        var buffer = UAPIRequestBuffer()
        buffer.receive(upTo: 1_000) { $0 += text.utf8 }
        #expect(throws: UAPIError.self) { try buffer.next() }
    }

    @Test func theBufferWaitsForTheRest() throws {
        for text in [
            "", "g", "get=1", "get=1\n", "set=1\n", "set=1\nlisten", "status=1\n", "qos=1\n",
            "set_qos=1\nclass", "flows=1\n",
        ] {
            var buffer = UAPIRequestBuffer()
            buffer.receive(upTo: 1_000) { $0 += text.utf8 }
            #expect(try buffer.next() == nil)
            #expect(buffer.isEmpty == text.isEmpty)
        }
    }

    @Test func aLineOfASettingIsBoundedBeforeItsEndHasCome() throws {
        var buffer = UAPIRequestBuffer()
        buffer.receive(upTo: 1_000) { $0 += "set=1\nfwmark=1\n".utf8 }
        let line = [UInt8](repeating: 0x61, count: ConfigurationLimits.lineBytesMax)
        buffer.receive(upTo: line.count) { $0 += line }
        #expect(try buffer.next() == nil)
        buffer.receive(upTo: 1_000) { $0 += "a".utf8 }
        #expect(throws: UAPIError.self) { try buffer.next() }
    }

    @Test func theBufferIsBounded() {
        var buffer = UAPIRequestBuffer()
        let filler = [UInt8](repeating: 0x61, count: ConfigurationLimits.textBytesMax)
        buffer.receive(upTo: 6) { $0 += "set=1\n".utf8 }
        buffer.receive(upTo: filler.count) { $0 += filler }
        #expect(throws: UAPIError.self) { try buffer.next() }
        var endless = UAPIRequestBuffer()
        let line = filler.prefix(ConfigurationLimits.lineBytesMax + 1)
        endless.receive(upTo: line.count) { $0 += line }
        #expect(throws: UAPIError.self) { try endless.next() }
    }
}
