import Foundation
import HummingbirdTesting
import NIOCore
import Testing

@testable import SimulatedInference

@Suite struct TransferTests {
    @Test(arguments: [0, 1, 70_000, 2 << 20])
    func bodyIsSwallowedWhatItsSize(byteCount: Int) async throws {
        try await TestServer.run { client in
            let answer = try await client.execute(
                uri: "/v1/kv/blocks", method: .post,
                body: ByteBuffer(repeating: 7, count: byteCount))
            #expect(answer.status == .ok)
            #expect(try answer.object["bytes"] as? Int == byteCount)
        }
    }

    @Test(arguments: [1, 65_535, 65_536, 65_537, 1_000_000])
    func asManyBytesAreServedAsAreAskedFor(byteCount: Int) async throws {
        try await TestServer.run { client in
            let answer = try await client.execute(
                uri: "/v1/kv/blocks?bytes=\(byteCount)", method: .get)
            #expect(answer.status == .ok)
            #expect(answer.body.readableBytes == byteCount)
            #expect(answer.headers[.contentLength] == "\(byteCount)")
        }
    }

    @Test(arguments: ["", "?bytes=", "?bytes=0", "?bytes=-1", "?bytes=x", "?bytes=17179869185"])
    func otherCountsAreRefused(query: String) async throws {
        try await TestServer.run { client in
            let answer = try await client.execute(uri: "/v1/kv/blocks\(query)", method: .get)
            #expect(answer.status == .badRequest)
            #expect(try answer.object.error?["param"] as? String == "bytes")
        }
    }

    @Test func hiddenStatesComeBack() async throws {
        try await TestServer.run { client in
            let sent = ByteBuffer(bytes: (0..<16_384).map { UInt8($0 & 0xff) })
            let answer = try await client.execute(
                uri: "/v1/activations", method: .post, body: sent)
            #expect(answer.status == .ok)
            #expect(answer.body == sent)
        }
    }

    @Test func exchangeHasALimit() async throws {
        try await TestServer.run { client in
            for (byteCount, isAccepted) in [(1 << 20, true), ((1 << 20) + 1, false)] {
                let answer = try await client.execute(
                    uri: "/v1/activations", method: .post,
                    body: ByteBuffer(repeating: 1, count: byteCount))
                #expect((answer.status == .ok) == isAccepted)
            }
        }
    }

    @Test func answerHasTheTokensAskedFor() async throws {
        try await TestServer.run { client in
            let answer = try await client.chat(
                ", \"max_completion_tokens\": 33, \"min_tokens\": 33")
            #expect(try answer.object.usage?["completion_tokens"] == 33)
            let refused = try await client.chat(", \"max_tokens\": 3, \"min_tokens\": 4")
            #expect(try refused.object.error?["param"] as? String == "min_tokens")
        }
    }
}
