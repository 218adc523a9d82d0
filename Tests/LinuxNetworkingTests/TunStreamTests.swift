import CLinux
import Glibc
import LinuxNetworking
import PacketFormats
import PacketMemory
import Synchronization
import TestSupport
import Testing

/// Two namespaces joined by nothing but a thread that copies frames from one TUN device to the
/// other, header and all.
@Suite(.enabled(if: isRoot, "needs root"))
struct TunStreamTests {
    @Test func tcpStreamCrossesInUnsegmentedFrames() throws {
        let near = try Side("10.9.0.1")
        let far = try Side("10.9.0.2")
        let pump = Pump(near.tun, far.tun)
        let copying = try WorkerThread.start(name: "pump") { _ in pump.run() }
        let payload = pattern(4 << 20)
        let listening = Atomic<Bool>(false)
        let failure = Failure()
        let server = try WorkerThread.start(name: "server") { _ in
            do {
                try far.enter()
                let received = try acceptAll { listening.store(true, ordering: .releasing) }
                #expect(received == payload)
            } catch { failure.note(error) }
            listening.store(true, ordering: .releasing)
        }
        let client = try WorkerThread.start(name: "client") { _ in
            do {
                try near.enter()
                while !listening.load(ordering: .acquiring) { usleep(1_000) }
                try connectAndSend(payload)
            } catch { failure.note(error) }
        }
        client.join()
        server.join()
        pump.stop()
        copying.join()
        try failure.rethrow()
        // How much longer than the MTU they get depends on how busy the machine is.
        #expect(pump.longestFrame > 2_000)
        #expect(pump.sawSegmentation)
        #expect(pump.failedWrites == 0)
    }
}

/// A namespace with a TUN device, kept open by a descriptor.
private final class Side: Sendable {
    let tun: TunDevice
    private let namespace: Int32

    init(_ own: String) throws {
        let made = Mutex<(TunDevice, Int32)?>(nil)
        try inNewNamespace {
            let tun = try configuredDevice(own)
            let namespace = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
            made.withLock { $0 = (tun, namespace) }
        }
        (tun, namespace) = try #require(made.withLock { $0 })
    }

    func enter() throws { try NetworkNamespace.enter(path: "/proc/self/fd/\(namespace)") }

    deinit { close(namespace) }
}

private final class Pump: Sendable {
    private let tuns: [TunDevice]
    private let wake: EventDescriptor?
    private let figures = Mutex((longest: 0, segmented: false, failed: 0))

    init(_ near: TunDevice, _ far: TunDevice) {
        tuns = [near, far]
        wake = try? EventDescriptor()
    }

    var longestFrame: Int { figures.withLock { $0.longest } }
    var sawSegmentation: Bool { figures.withLock { $0.segmented } }
    var failedWrites: Int { figures.withLock { $0.failed } }

    func stop() { wake?.signal() }

    func run() {
        guard let wake, let loop = try? EventLoop() else { return }
        try? loop.add(wake.fileDescriptor, token: 2, events: .readable)
        for (token, tun) in tuns.enumerated() {
            try? loop.add(
                tun.queues[0].fileDescriptor, token: UInt64(token), events: .readable)
        }
        let arena = ByteArena(count: 65_600)
        while true {
            for index in 0..<loop.wait(timeoutNanoseconds: nil) {
                let token = Int(loop.token(at: index))
                if token == 2 { return }
                copy(from: tuns[token].queues[0], to: tuns[1 - token].queues[0], arena)
            }
        }
    }

    private func copy(from source: TunQueue, to destination: TunQueue, _ arena: ByteArena) {
        var count = source.read(arena.whole)
        while count > 0 {
            let frame = arena.whole.prefix(count)
            let header = VirtioNetHeader(reading: frame)
            let isIPv4 = frame[VirtioNetHeader.count] >> 4 == 4
            let written = isIPv4 ? destination.write(frame) : count
            figures.withLock {
                $0.longest = max($0.longest, count)
                $0.segmented = $0.segmented || header.gsoType == VirtioNetHeader.gsoTCPv4
                $0.failed += written == count ? 0 : 1
            }
            count = source.read(arena.whole)
        }
    }
}

private struct SocketFailure: Error {
    let step: String
    let code = errno
}

private func tcpAddress() -> sockaddr_in {
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = UInt16(5_000).bigEndian
    name.sin_addr.s_addr = UInt32(0x0a09_0002).bigEndian
    return name
}

private func withAddress(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    var name = tcpAddress()
    return withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
}

private func acceptAll(_ isListening: () -> Void) throws -> [UInt8] {
    let listener = socket(AF_INET, Int32(CLINUX_SOCK_STREAM), 0)
    defer { close(listener) }
    if withAddress({ bind(listener, $0, $1) }) != 0 { throw SocketFailure(step: "bind") }
    if listen(listener, 1) != 0 { throw SocketFailure(step: "listen") }
    isListening()
    let connection = UnixSocket(adopting: accept(listener, nil, nil))
    return try connection.readToEnd(timeoutNanoseconds: 120_000_000_000)
}

private func connectAndSend(_ bytes: [UInt8]) throws {
    let connection = UnixSocket(adopting: socket(AF_INET, Int32(CLINUX_SOCK_STREAM), 0))
    let status = withAddress { connect(connection.fileDescriptor, $0, $1) }
    if status != 0 { throw SocketFailure(step: "connect") }
    try connection.send(bytes)
    // A process that another test starts may have a copy of the socket.
    try connection.finishSending()
    connection.close()
}
