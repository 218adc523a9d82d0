public import ControlModel
import LinuxNetworking
import SystemPackage

/// The local QoS policy of one interface, which says what the coordinator's policy leaves open.
public struct QoSFile: Hashable, Sendable {
    public let path: String

    public init(path: String) { self.path = path }

    /// Where `branchline qos local` keeps it.
    public static func standard(of interface: String) -> QoSFile {
        QoSFile(path: "\(folder)/\(interface).json")
    }

    public static let folder = "/etc/branchline/qos"

    /// - Returns: `nil` where there is no such file.
    public func read() throws(QoSFileFault) -> QoSPolicy? {
        try contents().map { (bytes) throws(QoSFileFault) in try policy(bytes) }
    }

    /// The file's bytes, so that whoever looks again knows whether it has changed.
    func contents() throws(QoSFileFault) -> [UInt8]? {
        do {
            // A FIFO is not waited for.
            let descriptor = try FileDescriptor.open(
                FilePath(path), .readOnly, options: [.closeOnExec, .nonBlocking])
            return try descriptor.closeAfter {
                try descriptor.readToEnd(byteCountMax: PolicyLimits.fileBytesMax)
            }
        } catch Errno.noSuchFileOrDirectory {
            return nil
        } catch Errno.fileTooLarge {
            throw QoSFileFault("\(path) is larger than \(PolicyLimits.fileBytesMax) bytes")
        } catch {
            throw QoSFileFault("\(path): \(error)")
        }
    }

    func policy(_ bytes: [UInt8]) throws(QoSFileFault) -> QoSPolicy {
        do throws(QoSFileFault) {
            return try QoSPolicy(localFile: bytes)
        } catch {
            throw QoSFileFault("\(path) is not used: \(error)")
        }
    }
}
