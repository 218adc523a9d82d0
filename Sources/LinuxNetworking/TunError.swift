public import SystemPackage

/// Why there is no TUN device; each description says what to do about it.
public enum TunError: Error, Equatable {
    /// /dev/net/tun does not exist or has no driver behind it.
    case driverMissing(Errno)
    case notPermitted(Errno)
    case invalidName(String, reason: String)
    /// An interface of that name exists and is busy or no TUN device.
    case nameInUse(String)
    /// A descriptor that was handed over is no TUN queue that can be used.
    case unusableDescriptor(Int32, reason: String)
    /// The namespace that the device is for.
    case namespace(NamespaceError)
    case failed(operation: String, Errno)
}

extension TunError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .driverMissing(let errno):
            return """
                cannot open /dev/net/tun: \(errno); load the driver with 'modprobe tun', or in a \
                container pass the device in (--device /dev/net/tun)
                """
        case .notPermitted(let errno):
            return """
                not allowed to make a TUN device: \(errno); run as root or with CAP_NET_ADMIN \
                (in a container: --cap-add NET_ADMIN)
                """
        case .invalidName(let name, let reason):
            return "'\(name)' cannot name a network interface: \(reason)"
        case .nameInUse(let name):
            return """
                an interface named \(name) exists already and is in use or no single-queue TUN \
                device; choose another name or remove it with 'ip link delete \(name)'
                """
        case .unusableDescriptor(let descriptor, let reason):
            return "file descriptor \(descriptor) cannot serve as TUN device: \(reason)"
        case .namespace(let error):
            return "\(error)"
        case .failed(let operation, let errno):
            return "TUN device: \(operation) failed: \(errno)"
        }
    }
}
