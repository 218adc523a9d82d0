import Glibc
public import SystemPackage

/// Folders of keys: what is in them is only their owner's to read.
public enum PrivateFolder {
    /// Why a folder or a file in it is not used.
    public enum Fault: Error, Hashable, Sendable, CustomStringConvertible {
        case system(path: String, Errno)
        /// Not a folder, or not a regular file; a link is neither.
        case wrongKind(path: String)
        case foreignOwner(path: String, owner: UInt32)
        /// Others may read or write it.
        case tooOpen(path: String, mode: UInt32)
        case inUse(path: String)

        public var description: String {
            switch self {
            case .inUse(let path):
                "\(path) is in use by another process; end that first"
            case .system(let path, let errno): "\(path): \(errno)"
            case .wrongKind(let path): "\(path) is a link or of another kind; remove it"
            case .foreignOwner(let path, let owner):
                "\(path) belongs to user \(owner); look who made it, then chown it"
            case .tooOpen(let path, let mode):
                "\(path) has mode \(String(mode, radix: 8)) and others may use it; look who may "
                    + "have read it, then chmod go= it"
            }
        }
    }

    /// Keeps other processes from using a folder, for as long as it lives.
    public final class Lock: Sendable {
        private let descriptor: OwnedDescriptor

        /// - Parameter waitNanosecondsMax: For who is about to let go of it. flock
        public init(_ path: String, waitNanosecondsMax: UInt64) throws(Fault) {
            let opened = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard opened >= 0 else { throw .system(path: path, Errno(rawValue: errno)) }
            descriptor = OwnedDescriptor(opened)
            let deadline = Clock.monotonicNanoseconds() + waitNanosecondsMax
            while flock(opened, LOCK_EX | LOCK_NB) != 0 {
                guard errno == EWOULDBLOCK || errno == EINTR else {
                    throw .system(path: path, Errno(rawValue: errno))
                }
                guard Clock.monotonicNanoseconds() < deadline else { throw .inUse(path: path) }
                usleep(20_000)
            }
        }
    }

    /// Makes a folder of mode 0700, and those above it of mode 0755 where they are missing. mkdir
    public static func create(_ path: String) throws(Errno) {
        let parent = FilePath(path).removingLastComponent().string
        if !parent.isEmpty, !exists(parent) { try makeFolder(parent, mode: 0o755) }
        guard unsafe mkdir(path, 0o700) == 0 else { throw Errno(rawValue: errno) }
    }

    /// Makes a folder that everyone may read, and those above it, where they are missing; whatever
    /// the umask is. mkdir, chmod
    public static func createReadable(_ path: String) throws(Errno) {
        guard !exists(path) else { return }
        let parent = FilePath(path).removingLastComponent().string
        if !parent.isEmpty { try createReadable(parent) }
        guard unsafe mkdir(path, 0o755) == 0 else {
            if errno == EEXIST { return }
            throw Errno(rawValue: errno)
        }
        guard unsafe chmod(path, 0o755) == 0 else { throw Errno(rawValue: errno) }
    }

    private static func makeFolder(_ path: String, mode: mode_t) throws(Errno) {
        let parent = FilePath(path).removingLastComponent().string
        if !parent.isEmpty, !exists(parent) { try makeFolder(parent, mode: mode) }
        guard unsafe mkdir(path, mode) == 0 || errno == EEXIST else {
            throw Errno(rawValue: errno)
        }
    }

    /// Whether anything is there, a dangling link included. lstat
    public static func exists(_ path: String) -> Bool {
        var status = stat()
        return unsafe lstat(path, &status) == 0
    }

    /// Refuses a folder that others may use. lstat
    public static func check(_ path: String) throws(Fault) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else {
            throw .system(path: path, Errno(rawValue: errno))
        }
        try check(status, path, kind: S_IFDIR)
    }

    /// Reads a file that only its owner may use. open, fstat
    public static func read(_ path: String, byteCountMax: Int) throws(Fault) -> [UInt8] {
        // A FIFO would not be waited for, and a link not followed.
        let descriptor = unsafe open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ELOOP { throw .wrongKind(path: path) }
            throw .system(path: path, Errno(rawValue: errno))
        }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            throw .system(path: path, Errno(rawValue: errno))
        }
        try check(status, path, kind: S_IFREG)
        do throws(Errno) {
            return try FileDescriptor(rawValue: descriptor).readToEnd(byteCountMax: byteCountMax)
        } catch {
            throw .system(path: path, error)
        }
    }

    /// Makes a renamed, new or removed entry survive a loss of power. fsync
    public static func synchronize(_ path: String) throws(Errno) {
        let descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw Errno(rawValue: errno) }
    }

    /// Gives a file or folder another name in one step. rename
    public static func rename(_ old: String, to new: String) throws(Errno) {
        guard unsafe Glibc.rename(old, new) == 0 else { throw Errno(rawValue: errno) }
        try synchronize(FilePath(new).removingLastComponent().string)
    }

    /// The names in a folder, sorted; none where there is no such folder. readdir
    public static func entries(_ path: String) -> [String] {
        guard let folder = unsafe opendir(path) else { return [] }
        defer { unsafe closedir(folder) }
        var names: [String] = []
        while let entry = unsafe readdir(folder) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
                // Invariant: d_name ends with NUL inside of its array.
                unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) {
                    unsafe String(cString: $0)
                }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Overwrites a file with zeros before it removes it. What a journal or the flash itself may
    /// still hold is out of reach. unlink
    public static func wipe(_ path: String) throws(Errno) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { throw Errno(rawValue: errno) }
        if status.st_mode & S_IFMT == S_IFREG {
            let descriptor = unsafe open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC)
            if descriptor >= 0 {
                let zeros = [UInt8](repeating: 0, count: Int(clamping: status.st_size))
                _ = try? FileDescriptor(rawValue: descriptor).writeAll(zeros)
                fsync(descriptor)
                close(descriptor)
            }
        }
        guard unsafe unlink(path) == 0 else { throw Errno(rawValue: errno) }
    }

    /// Wipes the files of a folder and removes it. There are no folders in it. rmdir
    public static func remove(_ path: String) throws(Errno) {
        var attemptsLeft = removalAttempts
        while true {
            for name in entries(path) {
                do {
                    try wipe("\(path)/\(name)")
                } catch {
                    // Whoever still writes there gives a file its name, or takes it away.
                    guard error == .noSuchFileOrDirectory else { throw error }
                }
            }
            if unsafe rmdir(path) == 0 { return }
            let fault = Errno(rawValue: errno)
            attemptsLeft -= 1
            guard fault == .directoryNotEmpty, attemptsLeft > 0 else { throw fault }
        }
    }

    private static let removalAttempts = 10

    private static func check(_ status: stat, _ path: String, kind: mode_t) throws(Fault) {
        guard status.st_mode & S_IFMT == kind else { throw .wrongKind(path: path) }
        guard status.st_uid == geteuid() else {
            throw .foreignOwner(path: path, owner: status.st_uid)
        }
        guard status.st_mode & 0o077 == 0 else {
            throw .tooOpen(path: path, mode: status.st_mode & 0o777)
        }
    }
}
