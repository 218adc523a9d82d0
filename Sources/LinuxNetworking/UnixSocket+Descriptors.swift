import CLinux
import Glibc
import Synchronization
public import SystemPackage

/// Messages with open files between two processes of this machine.
///
/// A message is a header (magic, bytes, descriptors; 32 bits each), its bytes, and for descriptors
/// beyond those that the kernel takes at once one more byte with each further set. The receiver
/// believes no number of the header beyond what it asked for, and closes every descriptor that it
/// does not give to its caller.
extension UnixSocket {
    /// Who is at the other end.
    public struct PeerCredentials: Hashable, Sendable {
        public let processIdentifier: Int32
        public let userIdentifier: UInt32

        /// Whether it is this process's own user, or root.
        public var isTrusted: Bool { userIdentifier == geteuid() || userIdentifier == 0 }
    }

    /// What came with one message.
    public struct Message: Sendable {
        public let bytes: [UInt8]
        public let descriptors: PassedDescriptors
    }

    /// SO_PEERCRED
    public func peerCredentials() throws(Errno) -> PeerCredentials {
        var process: Int32 = 0
        var user: UInt32 = 0
        let status = unsafe clinux_peer_credentials(fileDescriptor, &process, &user)
        if status < 0 { throw Errno(rawValue: -status) }
        return PeerCredentials(processIdentifier: process, userIdentifier: user)
    }

    /// Sends a message; the descriptors stay open here.
    ///
    /// - Parameter descriptors: As many as the receiver expects.
    /// - Throws: ETIMEDOUT when the receiver does not read in time. sendmsg
    public func send(
        message bytes: [UInt8], passing descriptors: [Int32] = [], timeoutNanoseconds: UInt64
    ) throws(Errno) {
        let deadline = Clock.monotonicNanoseconds() &+ timeoutNanoseconds
        var text: [UInt8] = []
        for word in [Self.magic, UInt32(clamping: bytes.count), UInt32(clamping: descriptors.count)]
        {
            unsafe withUnsafeBytes(of: word.littleEndian) { unsafe text.append(contentsOf: $0) }
        }
        text += bytes
        var passed = min(descriptors.count, Self.descriptorsPerSet)
        var sent = 0
        while sent < text.count {
            // The set goes with the first bytes, however many of them the kernel takes.
            let set = sent == 0 ? Array(descriptors[..<passed]) : []
            sent += try sendOnce(Array(text[sent...]), set, deadline)
        }
        while passed < descriptors.count {
            let end = min(passed + Self.descriptorsPerSet, descriptors.count)
            _ = try sendOnce([0], Array(descriptors[passed..<end]), deadline)
            passed = end
        }
    }

    private func sendOnce(
        _ bytes: [UInt8], _ descriptors: [Int32], _ deadline: UInt64
    ) throws(Errno) -> Int {
        while true {
            let count = unsafe bytes.withUnsafeBytes { bytes in
                unsafe clinux_send_descriptors(
                    fileDescriptor, bytes.baseAddress, bytes.count, descriptors,
                    UInt32(descriptors.count))
            }
            if count > 0 { return count }
            switch Errno(rawValue: Int32(-count)) {
            case .wouldBlock: try awaitEvent(Int16(POLLOUT), until: deadline)
            case .interrupted: continue
            case let error: throw error
            }
        }
    }

    /// Receives one message.
    ///
    /// - Throws: ETIMEDOUT; ECONNRESET when the other end went away before the end of the message;
    ///   EMSGSIZE for one that is larger than asked for, EBADMSG for one that is none; EMFILE.
    ///   recvmsg
    public func receiveMessage(
        byteCountMax: Int, descriptorCountMax: Int, timeoutNanoseconds: UInt64
    ) throws(Errno) -> Message {
        let deadline = Clock.monotonicNanoseconds() &+ timeoutNanoseconds
        let passed = PassedDescriptors()
        var header: [UInt8] = []
        try read(Self.headerByteCount, into: &header, passed, descriptorCountMax, deadline)
        guard Self.word(header, 0) == Self.magic else { throw .badMessage }
        let byteCount = Int(Self.word(header, 4))
        let descriptorCount = Int(Self.word(header, 8))
        guard byteCount <= byteCountMax, descriptorCount <= descriptorCountMax else {
            throw .messageTooLong
        }
        var bytes: [UInt8] = []
        try read(byteCount, into: &bytes, passed, descriptorCount, deadline)
        var further: [UInt8] = []
        let sets = (descriptorCount + Self.descriptorsPerSet - 1) / Self.descriptorsPerSet
        try read(max(sets - 1, 0), into: &further, passed, descriptorCount, deadline)
        guard passed.count == descriptorCount else { throw .badMessage }
        return Message(bytes: bytes, descriptors: passed)
    }

    private func read(
        _ count: Int, into bytes: inout [UInt8], _ passed: PassedDescriptors,
        _ descriptorCountMax: Int, _ deadline: UInt64
    ) throws(Errno) {
        while bytes.count < count {
            try awaitEvent(Int16(POLLIN), until: deadline)
            var set = [Int32](repeating: -1, count: Self.descriptorsPerSet)
            var setCount: UInt32 = 0
            var received = 0
            let wanted = min(count - bytes.count, 65_536)
            received = unsafe bytes.appendRead(upTo: wanted) { buffer in
                unsafe set.withUnsafeMutableBufferPointer { set in
                    let count = unsafe clinux_receive_descriptors(
                        fileDescriptor, buffer.baseAddress, buffer.count, set.baseAddress,
                        &setCount)
                    if count < 0 { errno = Int32(-count) }
                    return count < 0 ? -1 : count
                }
            }
            let error = errno
            passed.append(set.prefix(Int(setCount)))
            if received == 0 { throw .connectionReset }
            if received < 0 && error != EINTR && error != EAGAIN { throw Errno(rawValue: error) }
            guard passed.count <= descriptorCountMax else { throw .messageTooLong }
        }
    }

    private static func word(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32(8 * $1) }
    }

    private static let magic: UInt32 = 0x4f48_4c42  // "BLHO"
    private static let headerByteCount = 12
    private static let descriptorsPerSet = Int(CLINUX_DESCRIPTORS_PER_MESSAGE)
}

/// Open files that another process has passed; those that nobody took are closed at the end.
public final class PassedDescriptors: Sendable {
    private let waiting = Mutex<[Int32]>([])

    init() {}

    public var count: Int { waiting.withLock { $0.count } }

    /// Takes the first `count`, in the order in which they were passed; the caller owns them.
    ///
    /// - Returns: `nil`, and takes none, if there are fewer.
    public func take(_ count: Int) -> [Int32]? {
        waiting.withLock { waiting in
            guard count >= 0, count <= waiting.count else { return nil }
            let taken = Array(waiting.prefix(count))
            waiting.removeFirst(count)
            return taken
        }
    }

    func append(_ descriptors: some Collection<Int32>) {
        waiting.withLock { $0 += descriptors }
    }

    deinit {
        waiting.withLock { waiting in
            for descriptor in waiting { _ = Glibc.close(descriptor) }
        }
    }
}
