import ControlModel
import NIOCore
import Testing

@testable import CoordinatorClient

/// Against a server in this process that sends what each test says.
@Suite(.timeLimit(.minutes(5))) struct CoordinatorClientTests {
    static let certificate = Result { try ServerCertificate() }

    static func identity(_ server: TestServer) async throws -> CoordinatorAPI.Identity {
        try await ask(server) { client in
            try await client.call(.get, "/v1/me", timeoutSeconds: 60).answer
        }
    }

    /// A client with the right pin and short limits.
    static func ask<Value>(
        _ server: TestServer, pin: ServerPin? = nil, bytesMax: Int = 1 << 16,
        silenceMilliseconds: Int64 = 60_000, _ body: (CoordinatorClient) async throws -> Value
    ) async throws -> Value {
        let client = try CoordinatorClient(
            coordinator: server.url, pin: try pin ?? certificate.get().pin, credential: "bla_x",
            silence: .milliseconds(silenceMilliseconds), answerBytesMax: bytesMax)
        defer { Task { await client.shutDown() } }
        return try await body(client)
    }

    static func server(
        _ script: @escaping @Sendable (String) -> TestServer.Script
    ) async throws -> TestServer {
        try await TestServer(try certificate.get(), script)
    }

    static let me = TestServer.Script.json(#"{"actor":"api-token:1","role":"owner","x":1}"#)

    // MARK: Whom to believe

    @Test func pinnedKeyIsAccepted() async throws {
        let server = try await Self.server { _ in Self.me }
        let identity = try await Self.identity(server)
        #expect(identity.actor == "api-token:1" && identity.role == .owner)
        #expect(server.requests.first?.contains("authorization: Bearer bla_x\r\n") == true)
    }

    @Test func anotherKeyIsRefusedBeforeAnythingIsSent() async throws {
        let server = try await Self.server { _ in Self.me }
        let pin = try ServerCertificate().pin
        await #expect(throws: ClientFault.pinMismatch) {
            try await Self.ask(server, pin: pin) {
                try await $0.call(.get, "/v1/me", timeoutSeconds: 60)
            }
        }
        await #expect(throws: ClientFault.pinMismatch) {
            try await Self.ask(server, pin: pin) {
                try await $0.lines("/v1/self/watch", timeoutSeconds: 60)
            }
        }
        #expect(server.requests.isEmpty && server.connectionCount == 2)
    }

    @Test func renewedCertificateOfTheSameKeyIsAcceptedOverNewConnections() async throws {
        let old = try Self.certificate.get()
        // Whoever asks again must connect again.
        let first = try await Self.server { _ in
            .json("{}", fields: ["connection: close"])
        }
        let client = try CoordinatorClient(
            coordinator: first.url, pin: old.pin, credential: nil)
        #expect(try await client.call(.get, "/v1/me", timeoutSeconds: 60) == nil)
        try await first.stop()
        let renewed = try ServerCertificate(keyText: old.keyText)
        #expect(renewed.certificate != old.certificate)
        let second = try await TestServer(renewed, port: first.port) { _ in Self.me }
        #expect(try await client.call(.get, "/v1/me", timeoutSeconds: 60) == nil)
        #expect(second.connectionCount == 1)
        await client.shutDown()
    }

    @Test func expiredCertificateOfThePinnedKeyIsAccepted() async throws {
        let expired = try ServerCertificate(isOver: true)
        let server = try await TestServer(expired) { _ in Self.me }
        _ = try await Self.ask(server, pin: expired.pin) {
            try await $0.call(.get, "/v1/me", timeoutSeconds: 60)
        }
    }

    @Test func keyThatChangesUnderTheSameAddressIsRefused() async throws {
        let first = try await Self.server { _ in
            .init(pieces: [TestServer.Script.head("204 No Content", ["connection: close"])])
        }
        let client = try CoordinatorClient(
            coordinator: first.url, pin: Self.certificate.get().pin, credential: nil)
        try await client.call(.get, "/v1/me", timeoutSeconds: 60)
        try await first.stop()
        let second = try await TestServer(ServerCertificate(), port: first.port) { _ in Self.me }
        await #expect(throws: ClientFault.pinMismatch) {
            try await client.call(.get, "/v1/me", timeoutSeconds: 60)
        }
        #expect(second.requests.isEmpty)
        await client.shutDown()
    }

    @Test func withoutAPinSelfSignedIsRefused() async throws {
        let server = try await Self.server { _ in Self.me }
        let client = try CoordinatorClient(coordinator: server.url, pin: nil, credential: "bla_x")
        await #expect {
            try await client.call(.get, "/v1/me", timeoutSeconds: 60)
        } throws: { error in
            if case ClientFault.certificateRefused = error { return true }
            return false
        }
        #expect(server.requests.isEmpty)
        await client.shutDown()
    }

    @Test func serverWithoutTLSIsNoCoordinator() async throws {
        let server = try await TestServer(nil) { _ in Self.me }
        await #expect {
            try await Self.identity(server)
        } throws: { error in
            if case ClientFault.notACoordinator = error { return true }
            return false
        }
        #expect(server.requests.isEmpty)
    }

    @Test func refusedConnectionIsUnreachable() async throws {
        let server = try await Self.server { _ in Self.me }
        try await server.stop()
        await #expect {
            try await Self.identity(server)
        } throws: { error in
            guard case ClientFault.unreachable(let cause) = error else { return false }
            return cause.contains("refused")
        }
    }

    @Test(arguments: ["", "a b", "a\r\nx: y", "ä"])
    func impossibleCredentialIsRefused(text: String) {
        #expect(throws: ClientFault.invalidCredential) {
            try CoordinatorClient(
                coordinator: "https://hq.example", pin: nil, credential: text)
        }
    }

    // MARK: What comes back

    @Test func bodiesRevisionsAndQueriesTravel() async throws {
        let server = try await Self.server { _ in
            .json(#"{"number":8}"#, fields: ["etag: \"8\""])
        }
        let (record, etag): (CoordinatorAPI.RevocationsRecord, Int64?) = try await Self.ask(
            server
        ) { client in
            try await client.call(
                .put, "/v1/tenants/acme/revocations", query: [("a", "b c")],
                body: CoordinatorAPI.SignedChain(chain: "x~y"), ifMatch: 7, timeoutSeconds: 60)
        }
        #expect(record.number == 8 && etag == 8)
        let request = try #require(server.requests.first)
        #expect(request.hasPrefix("PUT /v1/tenants/acme/revocations?a=b%20c HTTP/1.1\r\n"))
        #expect(request.contains("if-match: \"7\"\r\n"))
        #expect(request.contains("content-type: application/json\r\n"))
        #expect(request.hasSuffix("\r\n\r\n{\"chain\":\"x~y\"}"))
    }

    @Test func problemIsThrownAsItIs() async throws {
        let problem = CoordinatorAPI.Problem(
            .policyTestsFailed, status: 422, detail: "no", failures: ["one"])
        let body = String(decoding: try APIJSON.encode(problem), as: UTF8.self)
        let server = try await Self.server { _ in
            .json(
                body, status: "422 Unprocessable Content",
                type: "application/problem+json; charset=utf-8")
        }
        await #expect(throws: problem) { try await Self.identity(server) }
        await #expect(throws: problem) {
            try await Self.ask(server) {
                try await $0.lines("/v1/audit/export", timeoutSeconds: 60)
            }
        }
    }

    @Test(arguments: [
        TestServer.Script.json("<html>", type: "text/html"),
        .json("{}"), .json("[1,2"), .json(#"{"actor":1}"#), .json(""),
        .json("<html>", status: "502 Bad Gateway", type: "text/html"),
        .json("{", status: "500 Internal Server Error", type: "application/problem+json"),
        .json("{}", status: "404 Not Found"),
        .init(pieces: ["SSH-2.0-OpenSSH_9.2\r\n"]),
    ])
    func whatNoCoordinatorSendsIsNamed(script: TestServer.Script) async throws {
        let server = try await Self.server { _ in script }
        await #expect {
            try await Self.identity(server)
        } throws: { error in
            if case ClientFault.notACoordinator = error { return true }
            return false
        }
    }

    @Test(arguments: ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
    func redirectsAreNotFollowed(status: String) async throws {
        let server = try await Self.server { request in
            request.hasPrefix("GET /v1/me ")
                ? .json("", status: status, fields: ["location: /other"]) : Self.me
        }
        await #expect {
            try await Self.identity(server)
        } throws: { error in
            guard case ClientFault.notACoordinator(let found) = error else { return false }
            return found.contains("/other")
        }
        #expect(server.requests.count == 1)
    }

    @Test func answersAreBoundedInSize() async throws {
        let body = #"{"actor":""# + String(repeating: "a", count: 1000 - 12) + #""}"#
        let server = try await Self.server { request in
            request.contains("/stream ") ? .stream([body], type: "application/json") : .json(body)
        }
        for path in ["/v1/me", "/stream"] {
            let identity: CoordinatorAPI.Identity = try await Self.ask(server, bytesMax: 1000) {
                try await $0.call(.get, path, timeoutSeconds: 60).answer
            }
            #expect(identity.actor.count == 988)
            await #expect(throws: ClientFault.answerTooLarge) {
                try await Self.ask(server, bytesMax: 999) {
                    try await $0.call(.get, path, timeoutSeconds: 60)
                }
            }
        }
    }

    @Test func slowAnswersAreBoundedInTime() async throws {
        let server = try await Self.server { _ in
            .stream(
                Array(repeating: " ", count: 6_000), type: "application/json",
                pauseMilliseconds: 100)
        }
        // All of it takes longer than the suite's limit.
        await #expect(throws: ClientFault.timedOut) {
            try await Self.ask(server) {
                try await $0.call(.get, "/v1/me", timeoutSeconds: 1)
            }
        }
    }

    @Test func missingAnswerIsBoundedInTime() async throws {
        let server = try await Self.server { _ in .init(pieces: [], closes: false) }
        await #expect(throws: ClientFault.timedOut) {
            try await Self.ask(server, silenceMilliseconds: 5000) {
                try await $0.call(.get, "/v1/me", timeoutSeconds: 1)
            }
        }
    }

    @Test func connectionThatBreaksOffIsUnreachable() async throws {
        let server = try await Self.server { _ in .init(pieces: []) }
        await #expect {
            try await Self.identity(server)
        } throws: { error in
            if case ClientFault.unreachable = error { return true }
            return false
        }
    }

    @Test func cancelledCallEndsAtOnce() async throws {
        let server = try await Self.server { _ in .init(pieces: [], closes: false) }
        let task = Task {
            try await Self.ask(server, silenceMilliseconds: 600_000) {
                try await $0.call(.get, "/v1/me", timeoutSeconds: 600)
            }
        }
        while server.requests.isEmpty { try await Task.sleep(for: .milliseconds(10)) }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    // MARK: Streams

    @Test func linesComeWholeHoweverTheyAreCut() async throws {
        let server = try await Self.server { _ in
            .stream(["one\ntw", "o", "\n\nthree\n", "cut off"], pauseMilliseconds: 10)
        }
        let lines = try await Self.ask(server) { client in
            var lines: [String] = []
            let stream = try await client.lines(
                "/v1/self/watch", query: [("since", "5")], timeoutSeconds: 60)
            for try await line in stream { lines.append(String(decoding: line, as: UTF8.self)) }
            return lines
        }
        #expect(lines == ["one", "two", "", "three"])
        #expect(server.requests.first?.hasPrefix("GET /v1/self/watch?since=5 ") == true)
    }

    @Test func lineBeyondTheLimitIsRefused() async throws {
        let line = String(repeating: "a", count: 100)
        let server = try await Self.server { _ in .stream([line + "\n", line, "a", "a"]) }
        var count = 0
        await #expect(throws: ClientFault.answerTooLarge) {
            try await Self.ask(server, bytesMax: 100) { client in
                for try await line in try await client.lines("/v1/self/watch", timeoutSeconds: 60) {
                    count += line.count
                }
            }
        }
        #expect(count == 100)
    }

    @Test func silentStreamTimesOutAndHeartbeatsKeepIt() async throws {
        let server = try await Self.server { _ in
            .stream(
                Array(repeating: "line\n", count: 16), pauseMilliseconds: 800, closes: false)
        }
        var count = 0
        // All lines together take longer than the silence may; a pause is a small part of it, since
        // the machine may be busy.
        await #expect(throws: ClientFault.timedOut) {
            try await Self.ask(server, silenceMilliseconds: 12_000) { client in
                let lines = try await client.lines("/v1/self/watch", timeoutSeconds: 60)
                for try await _ in lines { count += 1 }
            }
        }
        #expect(count == 16)
    }

    @Test func streamOfAnotherTypeIsRefused() async throws {
        let server = try await Self.server { _ in .stream(["{}"], type: "text/html") }
        await #expect {
            try await Self.ask(server) { try await $0.lines("/v1/self/watch", timeoutSeconds: 60) }
        } throws: { error in
            if case ClientFault.notACoordinator = error { return true }
            return false
        }
    }
}
