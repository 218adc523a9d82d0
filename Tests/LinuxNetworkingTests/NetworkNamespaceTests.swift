import CLinux
import Glibc
import LinuxNetworking
import PacketFormats
import Synchronization
import SystemPackage
import TestSupport
import Testing

@Suite(.enabled(if: isRoot, "needs root"))
struct NetworkNamespaceTests {
    @Test func namespaceIsThereUntilItIsRemoved() throws {
        let name = uniqueName()
        let made = try NetworkNamespace.create(name: name)
        #expect(made.path == "/run/netns/\(name)" && "\(made)" == name)
        #expect(made.isPresent)
        #expect(try NetworkNamespace(name: name) == made)
        #expect(try NetworkNamespace(path: made.path) == made)
        #expect(try made.perform { try RoutingNetlink().link(1).isUp })
        try made.remove()
        #expect(!made.isPresent)
        #expect(throws: NamespaceError.missing(path: made.path)) {
            try NetworkNamespace(name: name)
        }
        #expect(throws: NamespaceError.vanished(path: made.path)) { try made.remove() }
    }

    /// A thread that stayed inside would open its next socket there.
    @Test func threadIsBackAfterwards() throws {
        try onOwnThread {
            let before = try currentNamespace()
            let made = try NetworkNamespace.create(name: uniqueName())
            defer { try? made.remove() }
            #expect(try currentNamespace() == before)
            #expect(try made.perform { try currentNamespace() } != before)
            #expect(try currentNamespace() == before)
            #expect(throws: Errno.ioError) { try made.perform { throw Errno.ioError } }
            #expect(try currentNamespace() == before)
        }
    }

    @Test func takenNameIsRefusedAndLeftAlone() throws {
        let made = try NetworkNamespace.create(name: uniqueName())
        defer { try? made.remove() }
        #expect(throws: NamespaceError.exists(name: "\(made)")) {
            try NetworkNamespace.create(name: "\(made)")
        }
        #expect(made.isPresent)
        let file = "\(NetworkNamespace.folder)/\(uniqueName())"
        close(open(file, O_CREAT | O_WRONLY, 0o600))
        defer { unlink(file) }
        let name = String(file.dropFirst(NetworkNamespace.folder.utf8.count + 1))
        #expect(throws: NamespaceError.exists(name: name)) {
            try NetworkNamespace.create(name: name)
        }
        #expect(throws: NamespaceError.wrongKind(path: file)) {
            try NetworkNamespace(name: name)
        }
        #expect(access(file, F_OK) == 0)
    }

    @Test(arguments: [
        "", ".", "..", ".hidden", "-n", "a/b", "a b", "a\n", "nul\0", "büro", "$(id)",
        String(repeating: "x", count: NamespaceName.byteCountMax + 1),
    ])
    func nameThatCannotBeGivenIsRefusedWithAReason(_ name: String) throws {
        let refusals = [
            #expect(throws: NamespaceError.self) { try NetworkNamespace.create(name: name) },
            #expect(throws: NamespaceError.self) { try NetworkNamespace(name: name) },
        ]
        for error in refusals {
            guard case .invalidName(name, let reason) = error else {
                Issue.record("unexpected error \(String(describing: error))")
                return
            }
            #expect("\(try #require(error))".contains(reason))
        }
        #expect(NamespaceName.fault(in: String(repeating: "x", count: 64)) == nil)
    }

    @Test(arguments: [
        "/etc/hostname", "/tmp", "/dev/null", "/proc/self/ns/mnt", "/proc/self/ns/uts",
        "/proc/self/status",
    ])
    func pathOfAnythingElseIsRefused(_ path: String) throws {
        #expect(throws: NamespaceError.wrongKind(path: path)) { try NetworkNamespace(path: path) }
    }

    @Test func pathOfNothingIsRefused() throws {
        for path in ["", "/run/netns/absent-\(getpid())", "/etc/hostname/x"] {
            #expect(throws: NamespaceError.missing(path: path)) {
                try NetworkNamespace(path: path)
            }
        }
    }

    /// Opening it must not wait for a writer.
    @Test func fifoIsRefused() throws {
        let path = temporaryPath("namespace-fifo")
        mkfifo(path, 0o600)
        defer { unlink(path) }
        #expect(throws: NamespaceError.wrongKind(path: path)) { try NetworkNamespace(path: path) }
    }

    @Test func namespaceOfAProcessIsFoundByItsPath() throws {
        try inNewNamespace {
            let own = try NetworkNamespace(path: "/proc/thread-self/ns/net")
            #expect("\(own)" == "/proc/thread-self/ns/net")
            #expect(try own.perform { try currentNamespace() } == currentNamespace())
        }
    }

    /// It must not be taken for the one that had the name, whose addresses it would get.
    @Test func anotherNamespaceOfTheSameNameIsNoSuccessor() throws {
        let name = uniqueName()
        let first = try NetworkNamespace.create(name: name)
        try first.remove()
        let second = try NetworkNamespace.create(name: name)
        defer { try? second.remove() }
        #expect(first != second)
        #expect(throws: NamespaceError.vanished(path: first.path)) { try first.perform {} }
        #expect(throws: NamespaceError.vanished(path: first.path)) { try first.remove() }
        #expect(throws: NamespaceError.vanished(path: first.path)) {
            try RoutingNetlink(in: first)
        }
        #expect(second.isPresent)
    }

    @Test func withoutPrivilegeTheErrorSaysSo() {
        let error = NamespaceError.notPermitted(operation: "enter x", .notPermitted)
        #expect("\(error)".contains("CAP_SYS_ADMIN"))
    }
}

@Suite(.enabled(if: isRoot, "needs root"))
struct TunDeviceInNamespaceTests {
    @Test(arguments: [1, 2])
    func deviceIsInsideAndItsDescriptorsAreHere(_ queueCount: Int) throws {
        let inside = try NetworkNamespace.create(name: uniqueName())
        defer { try? inside.remove() }
        try inNewNamespace {
            let tun = try TunDevice.create(
                name: "tenant0", queueCount: queueCount, namespace: inside)
            #expect(tun.name == "tenant0" && tun.queues.count == queueCount)
            #expect(tun.isAttached && tun.hasVirtioHeader)
            let netlink = try RoutingNetlink(in: inside)
            let link = try netlink.linkByName("tenant0")
            #expect(link.index == tun.interfaceIndex && !link.isUp)
            #expect(try interfaceCount() == 1)
            try netlink.setLink(link.index, up: true, mtu: 1_400)
            let own = InterfaceAddress(try address("10.0.0.1"), prefixLength: 24)
            try netlink.addAddress(own, device: link.index)
            try netlink.addRoute(prefix("10.9.0.0/16"), device: link.index)
            #expect(try netlink.addresses(of: link.index).contains(own))
            #expect(try netlink.routes().contains { "\($0.destination)" == "10.9.0.0/16" })
            #expect(try RoutingNetlink().routes().isEmpty)
            #expect(try tun.inItsNamespace { try currentNamespace() }
                == inside.perform { try currentNamespace() })
            tun.close()
            #expect(isGone("tenant0", netlink))
        }
    }

    @Test func packetsOfTheNamespaceComeOutHere() throws {
        let inside = try NetworkNamespace.create(name: uniqueName())
        defer { try? inside.remove() }
        let tun = try TunDevice.create(name: "tenant0", wanted: [], namespace: inside)
        try inside.perform {
            let netlink = try RoutingNetlink()
            try netlink.addAddress(
                InterfaceAddress(address("10.0.0.1"), prefixLength: 24),
                device: tun.interfaceIndex)
            try netlink.setLink(tun.interfaceIndex, up: true)
            let socket = socket(AF_INET, Int32(CLINUX_SOCK_DGRAM), 0)
            defer { close(socket) }
            var target = sockaddr_in()
            target.sin_family = sa_family_t(AF_INET)
            target.sin_port = UInt16(9).bigEndian
            target.sin_addr.s_addr = UInt32(0x0a00_0002).bigEndian
            let sent = withUnsafePointer(to: &target) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(socket, "hello", 5, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            #expect(sent == 5)
        }
        var buffer = [UInt8](repeating: 0, count: 2_048)
        #expect(eventually {
            let count = read(tun.queues[0].fileDescriptor, &buffer, buffer.count)
            return count > 5 && Array(buffer[..<count].suffix(5)) == Array("hello".utf8)
        })
    }

    @Test func twoNamespacesHaveTheSameNamesAndAddresses() throws {
        let namespaces = try (0..<2).map { _ in try NetworkNamespace.create(name: uniqueName()) }
        defer { for namespace in namespaces { try? namespace.remove() } }
        let own = InterfaceAddress(try address("10.0.0.1"), prefixLength: 24)
        for namespace in namespaces {
            let tun = try TunDevice.create(name: "tenant0", queueCount: 2, namespace: namespace)
            let netlink = try RoutingNetlink(in: namespace)
            try netlink.addAddress(own, device: tun.interfaceIndex)
            #expect(try netlink.addresses(of: tun.interfaceIndex).contains(own))
        }
    }

    @Test func takenNameInsideIsInUse() throws {
        let inside = try NetworkNamespace.create(name: uniqueName())
        defer { try? inside.remove() }
        let first = try TunDevice.create(name: "tenant0", namespace: inside)
        for name in ["tenant0", "lo"] {
            #expect(throws: TunError.nameInUse(name)) {
                try TunDevice.create(name: name, namespace: inside)
            }
        }
        #expect(first.isAttached)
        try inNewNamespace {
            #expect(throws: TunError.nameInUse("tenant0")) {
                try TunDevice.create(name: "tenant0", queueCount: 2, namespace: inside)
            }
            // What was made on the way is gone.
            let count = try interfaceCount()
            #expect(count == 1)
        }
        #expect(try RoutingNetlink(in: inside).linkByName("tenant0").index == first.interfaceIndex)
    }

    @Test(arguments: ["", "a/b", "branchline%d", "sixteen-bytes-xx"])
    func badNameIsRefused(_ name: String) throws {
        let inside = try NetworkNamespace.create(name: uniqueName())
        defer { try? inside.remove() }
        let error = #expect(throws: TunError.self) {
            try TunDevice.create(name: name, namespace: inside)
        }
        guard case .invalidName(name, _) = error else {
            Issue.record("unexpected error \(String(describing: error))")
            return
        }
    }

    @Test func vanishedNamespaceIsNamed() throws {
        let inside = try NetworkNamespace.create(name: uniqueName())
        try inside.remove()
        let error = #expect(throws: TunError.namespace(.vanished(path: inside.path))) {
            try TunDevice.create(name: "tenant0", namespace: inside)
        }
        #expect("\(try #require(error))".contains(inside.path))
    }

    /// A descriptor of ours that kept the namespace alive would hide that a tenant is cut off.
    @Test func deviceEndsWithItsNamespace() throws {
        let inside = try NetworkNamespace.create(name: uniqueName())
        let tun = try TunDevice.create(name: "tenant0", queueCount: 2, namespace: inside)
        #expect(tun.isAttached)
        try inside.remove()
        #expect(eventually { !tun.isAttached })
        #expect(throws: Errno.self) { try tun.inItsNamespace {} }
    }
}

private let serial = Atomic<Int>(0)

/// A name that no other test uses.
func uniqueName() -> String {
    let number = serial.wrappingAdd(1, ordering: .relaxed).newValue
    return "bltest-\(getpid())-\(number)"
}

/// Number of the namespace that the calling thread is in.
private func currentNamespace() throws -> UInt64 {
    var cookie: UInt64 = 0
    let status = clinux_network_namespace_cookie(&cookie)
    if status < 0 { throw Errno(rawValue: -status) }
    return cookie
}

/// Interfaces of the calling thread's namespace, loopback among them.
private func interfaceCount() throws -> Int {
    guard let names = if_nameindex() else { throw Errno(rawValue: errno) }
    defer { if_freenameindex(names) }
    var count = 0
    while names[count].if_index != 0 { count += 1 }
    return count
}
