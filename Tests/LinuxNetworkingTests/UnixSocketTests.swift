import CLinux
import Glibc
import LinuxNetworking
import SystemPackage
import TestSupport
import Testing

struct UnixSocketTests {
    @Test func requestAndAnswerCross() throws {
        let path = temporaryPath("cross.sock")
        let listener = try UnixSocketListener(path: path)
        #expect(listener.accept() == nil)
        let client = try UnixSocket.connect(path)
        let request = Array("get=1\n\n".utf8)
        try client.send(request)
        try client.finishSending()
        let server = UnixSocket(adopting: try #require(listener.accept()))
        #expect(try server.readToEnd(timeoutNanoseconds: 60_000_000_000) == request)
        let answer = pattern(100_000)
        let sending = try WorkerThread.start(name: "server") { _ in
            try? server.send(answer)
            server.close()
        }
        #expect(try client.readToEnd(timeoutNanoseconds: 60_000_000_000) == answer)
        sending.join()
        listener.close()
    }

    @Test func socketIsForItsOwnerOnlyAndGoesWithTheListener() throws {
        let path = temporaryPath("mode.sock")
        let listener = try UnixSocketListener(path: path)
        var status = stat()
        #expect(lstat(path, &status) == 0)
        #expect(status.st_mode == S_IFSOCK | 0o600)
        listener.close()
        #expect(lstat(path, &status) == -1)
    }

    @Test func onlyADeadSocketIsRemoved() throws {
        let path = temporaryPath("dead.sock")
        #expect(!UnixSocketListener.removeDead(path))
        let listener = try UnixSocketListener(path: path)
        #expect(!UnixSocketListener.removeDead(path))
        _ = try UnixSocket.connect(path)
        listener.close()
        try leaveStaleSocket(path)
        #expect(UnixSocketListener.removeDead(path))
        #expect(!UnixSocketListener.removeDead(path))
    }

    @Test func staleSocketIsReplaced() throws {
        let path = temporaryPath("stale.sock")
        try leaveStaleSocket(path)
        let error = #expect(throws: Errno.self) { try UnixSocket.connect(path) }
        #expect(error == .connectionRefused)
        let listener = try UnixSocketListener(path: path)
        _ = try UnixSocket.connect(path)
        listener.close()
    }

    @Test func liveSocketIsInUse() throws {
        let path = temporaryPath("live.sock")
        let listener = try UnixSocketListener(path: path)
        #expect(throws: UnixSocketError.inUse(path: path)) { try UnixSocketListener(path: path) }
        _ = try UnixSocket.connect(path)
        listener.close()
    }

    @Test func otherFilesAreLeftAlone() throws {
        let path = temporaryPath("file")
        let descriptor = open(path, O_CREAT | O_WRONLY, 0o600)
        close(descriptor)
        defer { unlink(path) }
        #expect(throws: UnixSocketError.notASocket(path: path)) {
            try UnixSocketListener(path: path)
        }
        var status = stat()
        #expect(lstat(path, &status) == 0)
    }

    @Test func closedListenerLeavesItsSuccessorsSocket() throws {
        let path = temporaryPath("successor.sock")
        let first = try UnixSocketListener(path: path)
        unlink(path)
        let second = try UnixSocketListener(path: path)
        first.close()
        _ = try UnixSocket.connect(path)
        second.close()
    }

    @Test func adoptedListenerServesAndRemovesItsSocket() throws {
        let path = temporaryPath("adopted.sock")
        let first = try UnixSocketListener(path: path)
        let second = try UnixSocketListener(
            adopting: dup(first.fileDescriptor), path: path)
        let client = try UnixSocket.connect(path)
        #expect(second.accept() != nil)
        client.close()
        #expect(throws: UnixSocketError.notASocket(path: path)) {
            try UnixSocketListener(adopting: open("/dev/null", O_RDWR), path: path)
        }
        var status = stat()
        #expect(lstat(path, &status) == 0)
        second.close()
        #expect(lstat(path, &status) == -1)
    }

    @Test func silentServerTimesOut() throws {
        let path = temporaryPath("silent.sock")
        let listener = try UnixSocketListener(path: path)
        let client = try UnixSocket.connect(path)
        let error = #expect(throws: Errno.self) {
            try client.readToEnd(timeoutNanoseconds: 20_000_000)
        }
        #expect(error == .timedOut)
        listener.close()
    }

    @Test func endlessAnswerIsCutOff() throws {
        let path = temporaryPath("endless.sock")
        let listener = try UnixSocketListener(path: path)
        let client = try UnixSocket.connect(path)
        let server = UnixSocket(adopting: try #require(listener.accept()))
        try server.send(pattern(1_001))
        server.close()
        let error = #expect(throws: Errno.self) {
            try client.readToEnd(timeoutNanoseconds: 60_000_000_000, byteCountMax: 1_000)
        }
        #expect(error == .messageTooLong)
        listener.close()
    }

    @Test func impossiblePathsAreErrors() throws {
        #expect(throws: UnixSocketError.self) {
            try UnixSocketListener(path: "/tmp/" + String(repeating: "x", count: 120))
        }
        #expect(throws: UnixSocketError.self) {
            try UnixSocketListener(path: "/nonexistent/directory/a.sock")
        }
        #expect(throws: Errno.self) { try UnixSocket.connect("") }
    }

    private func leaveStaleSocket(_ path: String) throws {
        let descriptor = socket(AF_UNIX, Int32(CLINUX_SOCK_STREAM), 0)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
        let status = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #expect(status == 0)
        close(descriptor)
    }
}
