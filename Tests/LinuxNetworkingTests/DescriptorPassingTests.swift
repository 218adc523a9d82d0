import CLinux
import Glibc
import SystemPackage
import TestSupport
import Testing

@testable import LinuxNetworking

/// Serialized: a thousand descriptors at a time are enough.
@Suite(.serialized)
struct DescriptorPassingTests {
    static let timeout: UInt64 = 60_000_000_000

    @Test(arguments: [0, 1, 2, 252, 253, 254, 506, 507, 600])
    func descriptorsArriveInOrderWithTheirMessage(_ count: Int) throws {
        let (near, far) = try connectedPair()
        let files = try (0..<count).map { try memoryFile(holding: "file \($0)") }
        defer { for file in files { close(file) } }
        let text = pattern(100_000)
        let sending = try WorkerThread.start(name: "sender") { _ in
            try? near.send(message: text, passing: files, timeoutNanoseconds: Self.timeout)
            try? near.send(message: [9], timeoutNanoseconds: Self.timeout)
        }
        let message = try far.receiveMessage(
            byteCountMax: text.count, descriptorCountMax: count, timeoutNanoseconds: Self.timeout)
        #expect(message.bytes == text)
        let passed = try #require(message.descriptors.take(count))
        #expect(message.descriptors.take(1) == nil)
        for (place, file) in passed.enumerated() {
            #expect(contents(of: file) == "file \(place)")
            #expect(fcntl(file, F_GETFD) == FD_CLOEXEC)
            close(file)
        }
        let next = try far.receiveMessage(
            byteCountMax: 1, descriptorCountMax: 0, timeoutNanoseconds: Self.timeout)
        #expect(next.bytes == [9])
        sending.join()
    }

    @Test func emptyMessageIsAMessage() throws {
        let (near, far) = try connectedPair()
        try near.send(message: [], timeoutNanoseconds: Self.timeout)
        let message = try far.receiveMessage(
            byteCountMax: 0, descriptorCountMax: 0, timeoutNanoseconds: Self.timeout)
        #expect(message.bytes == [] && message.descriptors.count == 0)
    }

    @Test func descriptorsThatNobodyTakesAreClosed() throws {
        var made: Set<UInt64> = []
        do {
            let (near, far) = try connectedPair()
            let files = try (0..<300).map { try memoryFile(holding: "\($0)") }
            made = Set(files.compactMap { fileNumber(of: $0) })
            #expect(made.count == 300 && openFileCount(of: made) == 300)
            try near.send(message: [1], passing: files, timeoutNanoseconds: Self.timeout)
            let message = try far.receiveMessage(
                byteCountMax: 1, descriptorCountMax: 300, timeoutNanoseconds: Self.timeout)
            let taken = try #require(message.descriptors.take(10))
            for file in files + taken { close(file) }
            #expect(message.descriptors.count == 290)
        }
        #expect(openFileCount(of: made) == 0)
    }

    @Test(arguments: [(2, 299), (1, 300), (2, 0)])
    func messageBeyondWhatIsAskedForIsRefusedAndLeavesNothing(
        _ byteCountMax: Int, _ descriptorCountMax: Int
    ) throws {
        var made: Set<UInt64> = []
        do {
            let (near, far) = try connectedPair()
            let file = try memoryFile(holding: "")
            made = [try #require(fileNumber(of: file))]
            try near.send(
                message: [1, 2], passing: Array(repeating: file, count: 300),
                timeoutNanoseconds: Self.timeout)
            close(file)
            #expect(throws: Errno.messageTooLong) {
                try far.receiveMessage(
                    byteCountMax: byteCountMax, descriptorCountMax: descriptorCountMax,
                    timeoutNanoseconds: Self.timeout)
            }
        }
        #expect(openFileCount(of: made) == 0)
    }

    @Test(arguments: [
        // Another magic; more descriptors than come; more bytes than come.
        [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0],
        [0x42, 0x4c, 0x48, 0x4f, 0, 0, 0, 0, 2, 0, 0, 0],
        [0x42, 0x4c, 0x48, 0x4f, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0],
        [0x42, 0x4c, 0x48, 0x4f, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        [0x42, 0x4c, 0x48, 0x4f, 0, 0, 0, 0, 0, 0, 0, 0],
        [0x42, 0x4c, 0x48],
    ] as [[UInt8]])
    func nonsenseIsRefusedAndLeavesNothing(_ header: [UInt8]) throws {
        var made: Set<UInt64> = []
        do {
            let (near, far) = try connectedPair()
            let file = try memoryFile(holding: "")
            made = [try #require(fileNumber(of: file))]
            // One descriptor that the header does not announce rightly.
            let sent = clinux_send_descriptors(
                near.fileDescriptor, header, header.count, [file], 1)
            #expect(sent == header.count)
            near.close()
            close(file)
            #expect(throws: Errno.self) {
                try far.receiveMessage(
                    byteCountMax: 100, descriptorCountMax: 100, timeoutNanoseconds: Self.timeout)
            }
        }
        #expect(openFileCount(of: made) == 0)
    }

    @Test func silenceAndHangingUpAreTold() throws {
        let (near, far) = try connectedPair()
        #expect(throws: Errno.timedOut) {
            try far.receiveMessage(
                byteCountMax: 1, descriptorCountMax: 0, timeoutNanoseconds: 20_000_000)
        }
        near.close()
        #expect(throws: Errno.connectionReset) {
            try far.receiveMessage(
                byteCountMax: 1, descriptorCountMax: 0, timeoutNanoseconds: Self.timeout)
        }
        #expect(throws: Errno.brokenPipe) {
            try far.send(message: [1], timeoutNanoseconds: Self.timeout)
        }
    }

    @Test func readerThatDoesNotReadIsNotWaitedForLong() throws {
        let (near, far) = try connectedPair()
        #expect(throws: Errno.timedOut) {
            try near.send(message: pattern(4 << 20), timeoutNanoseconds: 50_000_000)
        }
        withExtendedLifetime(far) {}
    }

    @Test func bothEndsKnowEachOther() throws {
        let (near, far) = try connectedPair()
        for socket in [near, far] {
            let peer = try socket.peerCredentials()
            #expect(peer.processIdentifier == getpid() && peer.userIdentifier == geteuid())
            #expect(peer.isTrusted)
        }
        let stranger = UnixSocket.PeerCredentials(
            processIdentifier: 7, userIdentifier: geteuid() == 12 ? 13 : 12)
        #expect(!stranger.isTrusted)
    }

    @Test func closedListenerMayKeepItsFile() throws {
        let path = temporaryPath("kept.sock")
        let first = try UnixSocketListener(path: path)
        let second = try UnixSocketListener(adopting: dup(first.fileDescriptor), path: path)
        first.closeKeepingFile()
        first.close()
        let client = try UnixSocket.connect(path)
        close(try #require(second.accept()))
        withExtendedLifetime(client) {}
        second.close()
        #expect(throws: Errno.noSuchFileOrDirectory) { try UnixSocket.connect(path) }
    }

    @Test func foreignFileStaysUntilItIsOurs() throws {
        let path = temporaryPath("foreign.sock")
        let owner = try UnixSocketListener(path: path)
        for isTakenOver in [false, true] {
            let other = try UnixSocketListener(
                adopting: dup(owner.fileDescriptor), path: path, isFileForeign: true)
            if isTakenOver { other.ownFile() }
            other.close()
            #expect((try? UnixSocket.connect(path)) == nil ? isTakenOver : !isTakenOver)
        }
    }
}

struct HandoverMemoryTests {
    @Test func bothHaveTheSameBytesAndEitherWipesThem() throws {
        let own = try HandoverMemory(byteCount: 10_000)
        #expect(own.whole.count == 10_000 && own.whole.bytes.allSatisfy { $0 == 0 })
        for offset in 0..<10_000 { own.whole[offset] = UInt8(truncatingIfNeeded: offset) }
        do {
            let other = try HandoverMemory(
                adopting: dup(own.fileDescriptor), byteCountMax: 10_000)
            #expect(other.whole.bytes == own.whole.bytes)
        }
        #expect(own.whole.bytes.allSatisfy { $0 == 0 })
        #expect(ftruncate(own.fileDescriptor, 5_000) < 0)
        #expect(ftruncate(own.fileDescriptor, 20_000) < 0)
    }

    @Test func whatMayShrinkOrIsTooMuchIsRefused() throws {
        let own = try HandoverMemory(byteCount: 100)
        #expect(throws: Errno.messageTooLong) {
            try HandoverMemory(adopting: dup(own.fileDescriptor), byteCountMax: 99)
        }
        let original = try memoryFile(holding: "12345")
        defer { close(original) }
        let file = distantCopy(original)
        #expect(throws: Errno.invalidArgument) {
            try HandoverMemory(adopting: file, byteCountMax: 100)
        }
        #expect(fcntl(file, F_GETFD) < 0)
    }
}

struct ProcessHandleTests {
    @Test func endOfAProcessIsSeen() throws {
        let child = try ChildProcess.start("/bin/sleep", arguments: ["sleep", "60"])
        let handle = try ProcessHandle(child.identifier)
        #expect(!handle.hasEnded(within: 0))
        handle.kill()
        #expect(handle.hasEnded(within: 30_000_000_000))
        #expect(try child.wait() == 128 + SIGKILL)
    }

    @Test func missingProcessHasNoHandle() {
        #expect(throws: Errno.noSuchProcess) { try ProcessHandle(0x3fff_fffe) }
    }
}

// MARK: - Support

private func connectedPair() throws -> (UnixSocket, UnixSocket) {
    let path = temporaryPath("pair-\(UInt32.random(in: 0 ... .max)).sock")
    let listener = try UnixSocketListener(path: path)
    let near = try UnixSocket.connect(path)
    return (near, UnixSocket(adopting: try #require(listener.accept())))
}

private func memoryFile(holding text: String) throws -> Int32 {
    let file = clinux_memory_file()
    if file < 0 { throw Errno(rawValue: -file) }
    #expect(write(file, text, text.utf8.count) == text.utf8.count)
    return file
}

private func contents(of file: Int32) -> String {
    var bytes = [UInt8](repeating: 0, count: 100)
    let count = pread(file, &bytes, bytes.count, 0)
    return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
}

/// What tells a memory file from all others: those of other tests come and go meanwhile.
private func fileNumber(of file: Int32) -> UInt64? {
    var status = stat()
    return fstat(file, &status) == 0 ? UInt64(status.st_ino) : nil
}

/// How many descriptors of this process are of these memory files.
private func openFileCount(of files: Set<UInt64>) -> Int {
    guard let folder = opendir("/proc/self/fd") else { return -1 }
    defer { closedir(folder) }
    var count = 0
    while let entry = readdir(folder) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
        }
        var target = [CChar](repeating: 0, count: 256)
        let length = readlink("/proc/self/fd/\(name)", &target, 255)
        let bytes = target.prefix(max(length, 0)).map { UInt8(bitPattern: $0) }
        let isMemory = String(decoding: bytes, as: UTF8.self).hasPrefix("/memfd:branchline")
        guard isMemory, let file = Int32(name), let number = fileNumber(of: file) else { continue }
        if files.contains(number) { count += 1 }
    }
    return count
}
