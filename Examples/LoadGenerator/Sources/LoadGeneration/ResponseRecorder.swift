import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import Synchronization

/// Follows one request on the event loop that its connection lives on, so that what is measured is
/// when bytes were read and not when a task got to see them.
final class ResponseRecorder: HTTPClientResponseDelegate {
    typealias Response = RequestRecord

    private struct State {
        var record = RequestRecord()
        var splitter = EventSplitter()
    }

    private let state: Mutex<State>
    /// Told of payload as it goes and comes.
    private let budget: ByteBudget

    init(budget: ByteBudget) {
        self.budget = budget
        state = Mutex(State())
        state.withLock { $0.record.began = Self.now() }
    }

    /// What was seen so far.
    var record: RequestRecord { state.withLock { $0.record } }

    static func now() -> UInt64 { NIODeadline.now().uptimeNanoseconds }

    func didSendRequestPart(task: HTTPClient.Task<Response>, _ part: IOData) {
        budget.add(part.readableBytes)
        state.withLock { $0.record.bytesSent += part.readableBytes }
    }

    func didReceiveHead(
        task: HTTPClient.Task<Response>, _ head: HTTPResponseHead
    ) -> EventLoopFuture<Void> {
        let now = Self.now()
        let kind = head.headers.first(name: "content-type")?.lowercased() ?? ""
        state.withLock {
            $0.record.headArrived = now
            $0.record.status = head.status.code
            $0.record.isEventStream = kind.hasPrefix("text/event-stream")
        }
        return task.eventLoop.makeSucceededVoidFuture()
    }

    func didReceiveBodyPart(
        task: HTTPClient.Task<Response>, _ buffer: ByteBuffer
    ) -> EventLoopFuture<Void> {
        let now = Self.now()
        budget.add(buffer.readableBytes)
        state.withLock { state in
            state.record.bytesReceived += buffer.readableBytes
            let room = Self.bodyStartBytesMax - state.record.bodyStart.count
            if room > 0 { state.record.bodyStart += buffer.readableBytesView.prefix(room) }
            if state.record.isEventStream {
                Self.take(buffer, into: &state, now: now)
            } else if state.record.firstChunk == nil {
                state.record.firstChunk = now
            }
        }
        return task.eventLoop.makeSucceededVoidFuture()
    }

    func didFinishRequest(task: HTTPClient.Task<Response>) throws -> RequestRecord {
        let now = Self.now()
        return state.withLock {
            $0.record.ended = now
            return $0.record
        }
    }

    private static func take(_ buffer: ByteBuffer, into state: inout State, now: UInt64) {
        var meanings: [ChunkMeaning] = []
        state.splitter.take(buffer.readableBytesView) { meanings.append(ChunkMeaning($0)) }
        for meaning in meanings {
            switch meaning {
            case .content: state.record.noteChunk(at: now)
            case .end: state.record.isComplete = true
            case .failure: state.record.hasFailedInStream = true
            case .other: break
            }
        }
    }

    private static let bodyStartBytesMax = 2_048
}
