import ControlModel
import LinuxNetworking
import SystemPackage

extension NodeName {
    /// The host's name, as far as a node can have it.
    static var ofHost: String {
        let bytes = try? FileDescriptor.open(
            FilePath("/proc/sys/kernel/hostname"), .readOnly)
        let text = bytes.flatMap { file in
            try? file.closeAfter { try file.readToEnd(byteCountMax: 256) }
        }
        let possible = (text ?? []).filter(isPossible).prefix(bytesMax)
        return possible.isEmpty ? "node" : String(decoding: possible, as: UTF8.self)
    }
}
