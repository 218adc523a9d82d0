import AsyncHTTPClient
import NIOCore

/// The lines of a stream, as they arrive and without their ends; what follows the last end of a
/// line is dropped.
///
/// Fails with a ``ClientFault``: `timedOut` when nothing arrives for 60 seconds, `answerTooLarge`
/// for a line beyond 64 MiB. Ends when the server ends the stream. Whoever stops to iterate ends
/// the request.
public struct CoordinatorLines: AsyncSequence, Sendable {
    public typealias Element = [UInt8]

    let body: HTTPClientResponse.Body
    let lineBytesMax: Int

    public struct AsyncIterator: AsyncIteratorProtocol {
        var chunks: HTTPClientResponse.Body.AsyncIterator
        let lineBytesMax: Int
        /// Of the line that is not complete yet.
        private var pending = ByteBuffer()
        /// How much of `pending` was searched.
        private var searchedCount = 0

        init(chunks: HTTPClientResponse.Body.AsyncIterator, lineBytesMax: Int) {
            self.chunks = chunks
            self.lineBytesMax = lineBytesMax
        }

        public mutating func next() async throws -> [UInt8]? {
            while true {
                if let line = try nextOfPending() { return line }
                do {
                    guard var chunk = try await chunks.next() else { return nil }
                    pending.discardReadBytes()
                    pending.writeBuffer(&chunk)
                } catch {
                    throw ClientFault(cause: error) ?? error
                }
            }
        }

        private mutating func nextOfPending() throws -> [UInt8]? {
            let unsearched = pending.readableBytesView.dropFirst(searchedCount)
            guard let end = unsearched.firstIndex(of: UInt8(ascii: "\n")) else {
                searchedCount = pending.readableBytes
                guard searchedCount <= lineBytesMax else { throw ClientFault.answerTooLarge }
                return nil
            }
            let count = end - pending.readerIndex
            guard count <= lineBytesMax else { throw ClientFault.answerTooLarge }
            let line = pending.readBytes(length: count)
            pending.moveReaderIndex(forwardBy: 1)
            searchedCount = 0
            return line
        }
    }

    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(chunks: body.makeAsyncIterator(), lineBytesMax: lineBytesMax)
    }
}
