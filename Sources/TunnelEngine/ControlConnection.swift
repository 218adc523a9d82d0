import Cryptography
import LinuxNetworking
import Logging
import WireGuardConfiguration

/// One client of the configuration socket: what it has sent, and what it has not read yet. Both may
/// hold keys and are wiped when they are done with.
final class ControlConnection {
    let stream: UnixStream
    /// Cuts what was received into requests.
    var requests = UAPIRequestBuffer()
    /// Whether the client may still send.
    var isOpen = true
    /// Workers are still to say what the answer is made of; what comes after it waits.
    var awaitsAnswer = false
    private var outgoing: [UInt8] = []
    private var sentBytes = 0
    /// Monotonic nanoseconds at which a silent client is cut off.
    var deadline: UInt64

    init(stream: UnixStream, deadline: UInt64) {
        self.stream = stream
        self.deadline = deadline
    }

    deinit {
        requests.wipe()
        outgoing.wipe()
    }

    /// Takes a part of what the client has sent. What is left wakes the loop again: a client that
    /// sends without end is refused at the limits of a request, and keeps nobody else waiting.
    func read() {
        let byteCountMax = EngineLimits.controlReadBytes
        let reading = requests.receive(upTo: byteCountMax) {
            stream.read(appendingTo: &$0, upTo: byteCountMax)
        }
        switch reading {
        case .bytes, .wouldBlock: break
        case .ended, .failed: isOpen = false
        }
    }

    /// - Parameter bytes: Taken over and wiped.
    func answer(wiping bytes: inout [UInt8]) {
        outgoing.appendWiping(bytes)
        bytes.wipe()
    }

    var hasUnsentBytes: Bool { sentBytes < outgoing.count }

    /// - Returns: `false` if the client is gone.
    func write() -> Bool {
        while hasUnsentBytes {
            let count = stream.write(outgoing, from: sentBytes)
            if count == 0 { return true }
            if count < 0 { return false }
            sentBytes += count
        }
        outgoing.wipe()
        outgoing = []
        sentBytes = 0
        return true
    }

    func close() { stream.close() }
}

extension Tunnel {
    func acceptConnection() {
        while let descriptor = listener.accept() {
            let stream = UnixStream(adopting: descriptor)
            if connections.count >= EngineLimits.controlConnectionsMax { dropQuietest() }
            let number = nextConnection
            nextConnection = (nextConnection + 1) % EngineLimits.connectionNumbers
            let now = Clock.monotonicNanoseconds()
            do {
                try loop.add(
                    stream.fileDescriptor, token: token(.connection(number)), events: .readable)
                connections[number] = ControlConnection(
                    stream: stream, deadline: now + EngineLimits.controlConnectionNanoseconds)
            } catch {
                log.warning("a configuration client can't be watched: \(error)")
                stream.close()
            }
        }
    }

    func serve(connection number: UInt32) {
        guard let connection = connections[number] else { return }
        let now = Clock.monotonicNanoseconds()
        connection.deadline = now + EngineLimits.controlConnectionNanoseconds
        guard connection.write() else { return drop(connection: number) }
        let isReady = !connection.hasUnsentBytes && !connection.awaitsAnswer
        if isReady && connection.isOpen { connection.read() }
        do {
            // A client that does not read its answers gets no further ones.
            while !connection.hasUnsentBytes, !connection.awaitsAnswer,
                var request = try connection.requests.next()
            {
                let answer = answer(to: request, on: number)
                request.wipe()
                guard var answer else { break }
                connection.answer(wiping: &answer)
                guard connection.write() else { return drop(connection: number) }
            }
        } catch {
            var answer = error.answer
            connection.answer(wiping: &answer)
            connection.isOpen = false
            guard connection.write() else { return drop(connection: number) }
        }
        guard connection.isOpen || connection.hasUnsentBytes || connection.awaitsAnswer else {
            return drop(connection: number)
        }
        var interest: EventLoop.Events = connection.hasUnsentBytes ? .writable : .readable
        if connection.awaitsAnswer { interest = [] }
        try? loop.modify(
            connection.stream.fileDescriptor, token: token(.connection(number)), events: interest)
    }

    private func drop(connection number: UInt32) {
        guard let connection = connections.removeValue(forKey: number) else { return }
        try? loop.remove(connection.stream.fileDescriptor)
        connection.close()
    }

    /// Makes room for a new client: clients that connect and say nothing must not keep others out.
    private func dropQuietest() {
        guard let quietest = connections.min(by: { $0.value.deadline < $1.value.deadline })
        else { return }
        drop(connection: quietest.key)
    }

    var nextConnectionDeadline: UInt64? { connections.values.map(\.deadline).min() }

    func expireConnections() {
        guard !connections.isEmpty else { return }
        let now = Clock.monotonicNanoseconds()
        for (number, connection) in connections where connection.deadline <= now {
            drop(connection: number)
        }
    }
}
