import Glibc
import LinuxNetworking
import TestSupport
import Testing

@testable import TunnelEngine

@Suite struct ControlConnectionTests {
    /// A connection, and the client's end of it.
    private func connect() throws -> (ControlConnection, client: UnixStream) {
        let (server, client) = try socketPair(SOCK_STREAM)
        let stream = UnixStream(adopting: server)
        return (
            ControlConnection(stream: stream, deadline: 0), UnixStream(adopting: client)
        )
    }

    private func send(_ text: String, _ client: UnixStream) {
        #expect(client.write(Array(text.utf8)) == text.utf8.count)
    }

    private func answer(_ text: String, _ connection: ControlConnection) {
        var bytes = Array(text.utf8)
        connection.answer(wiping: &bytes)
    }

    private func requests(_ connection: ControlConnection) throws -> [String] {
        var requests: [String] = []
        while let request = try connection.requests.next() {
            requests.append(String(decoding: request, as: UTF8.self))
        }
        return requests
    }

    @Test func requestIsWholeHoweverItArrives() throws {
        let (connection, client) = try connect()
        send("set=1\nlisten", client)
        connection.read()
        #expect(connection.isOpen)
        let none = try requests(connection)
        #expect(none.isEmpty)
        send("_port=1\n\nget=1\n\nget=", client)
        connection.read()
        let two = try requests(connection)
        #expect(two == ["set=1\nlisten_port=1\n\n", "get=1\n\n"])
        send("1\n\n", client)
        connection.read()
        let last = try requests(connection)
        #expect(last == ["get=1\n\n"])
    }

    @Test func clientThatHasSentEverythingStillGetsItsAnswer() throws {
        let (connection, client) = try connect()
        send("get=1\n\n", client)
        #expect(shutdown(client.fileDescriptor, Int32(SHUT_WR)) == 0)
        connection.read()
        connection.read()
        #expect(!connection.isOpen)
        let requests = try requests(connection)
        #expect(requests == ["get=1\n\n"])
        answer("errno=0\n\n", connection)
        let isThere = connection.write()
        #expect(isThere)
        #expect(!connection.hasUnsentBytes)
        var answer: [UInt8] = []
        #expect(client.read(appendingTo: &answer, upTo: 100) == .bytes)
        #expect(String(decoding: answer, as: UTF8.self) == "errno=0\n\n")
    }

    @Test func answersBeyondTheSocketsRoomLeaveLaterInOrder() throws {
        let (connection, client) = try connect()
        let text = String(repeating: "0123456789abcdef", count: 1 << 15)
        answer(text, connection)
        answer("errno=0\n\n", connection)
        let isThere = connection.write()
        #expect(isThere)
        #expect(connection.hasUnsentBytes, "half a megabyte does not fit into a socket's buffer")
        var received: [UInt8] = []
        while connection.hasUnsentBytes || received.count < text.utf8.count + 9 {
            _ = client.read(appendingTo: &received, upTo: 1 << 16)
            let isStillThere = connection.write()
            try #require(isStillThere)
        }
        #expect(received == Array((text + "errno=0\n\n").utf8))
    }

    @Test func clientThatIsGoneIsNoticed() throws {
        let (connection, client) = try connect()
        client.close()
        // A process that another test starts has a copy of the client's end for a moment.
        let isNoticed = eventually {
            answer("errno=0\n\n", connection)
            return !connection.write()
        }
        #expect(isNoticed)
    }
}
