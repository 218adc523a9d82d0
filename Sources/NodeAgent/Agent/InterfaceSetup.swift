public import LinuxNetworking
public import PacketFormats
import SystemPackage

/// The interface's addresses, routes and MTU, as the verified grants say.
///
/// Only what changed is touched; what the kernel refuses is a note for the operator.
public struct InterfaceSetup {
    private let name: String
    private let place: InterfacePlace
    /// Of the namespace of the process, which the tunnel sends from.
    private let netlink: RoutingNetlink
    private var isAttached = false
    private var addresses: Set<InterfaceAddress> = []
    private var isUp = false
    private var mtu = 0
    /// Why a destination is not routed here.
    private var routeNotes: [IPPrefix: String] = [:]
    private var note: String?
    /// Whether routes that are there may be what an earlier process made of this interface.
    public var inheritsRoutes = false

    /// - Parameters:
    ///   - name: Of the interface.
    ///   - place: Where it is.
    public init(name: String, place: InterfacePlace = .host) throws(NetlinkError) {
        self.name = name
        self.place = place
        netlink = try RoutingNetlink()
    }

    /// What the kernel refused, in words.
    public var notes: [String] {
        let routes = routeNotes.sorted { $0.key < $1.key }.map(\.value)
        let shown = routes.prefix(Self.notesMax)
        let more = routes.count - shown.count
        return (note.map { [$0] } ?? []) + shown
            + (more > 0 ? ["\(more) more networks are not routed"] : [])
    }

    /// - Parameter wanted: The node's own addresses.
    public mutating func setAddresses(_ wanted: Set<IPPrefix>) {
        setAddresses(Set(wanted.map { InterfaceAddress($0.address, prefixLength: $0.length) }))
    }

    public mutating func setAddresses(_ wanted: Set<InterfaceAddress>) {
        guard wanted != addresses else { return }
        let old = addresses
        let isChanged = attempt { (way) throws(NetlinkError) in
            // New ones first: with its last address the kernel takes all routes from an interface.
            for address in wanted.subtracting(old).sorted(by: Self.precedes) {
                try way.add(address)
            }
            for address in old.subtracting(wanted).sorted(by: Self.precedes) {
                try way.remove(address)
            }
        }
        if isChanged { addresses = wanted }
    }

    /// - Parameter endpoints: Where the tunnel sends to.
    public mutating func setMTU(endpoints: [Endpoint]) {
        let hasIPv6 = addresses.contains { !$0.address.isIPv4 }
        let chosen = TunnelMTU.choose(endpoints, netlink)
        setMTU(hasIPv6 ? max(chosen, TunnelMTU.minimumOfIPv6) : chosen)
    }

    /// Switches the interface on with an MTU in bytes.
    public mutating func setMTU(_ wanted: Int) {
        guard wanted != mtu || !isUp else { return }
        let isChanged = attempt { (way) throws(NetlinkError) in
            try way.netlink.setLink(way.device, up: true, mtu: wanted)
        }
        guard isChanged else { return }
        mtu = wanted
        isUp = true
        // A table's routes are not taken by an interface that is down.
        if case .table = place {
            let own = addresses.sorted(by: Self.precedes)
            attempt { (way) throws(NetlinkError) in
                for address in own { try way.routeNetwork(of: address) }
            }
        }
    }

    public mutating func changeRoutes(lost: Set<IPPrefix>, new: Set<IPPrefix>) {
        for prefix in lost.sorted() {
            if routeNotes.removeValue(forKey: prefix) != nil { continue }
            attempt { (way) throws(NetlinkError) in
                do throws(NetlinkError) {
                    try way.netlink.removeRoute(prefix, device: way.device, table: way.table)
                } catch {
                    guard error.errno == .noSuchProcess else { throw error }
                }
            }
        }
        for prefix in new.sorted() {
            // It would carry the tunnel's own datagrams as well.
            guard prefix.length > 0 || place.takesDefaultRoute else {
                routeNotes[prefix] = "\(prefix) is a peer's, and not routed here: add rules for it"
                continue
            }
            var isTaken = false
            attempt { (way) throws(NetlinkError) in
                do throws(NetlinkError) {
                    try way.netlink.addRoute(prefix, device: way.device, table: way.table)
                } catch {
                    guard error.errno == .fileExists else { throw error }
                    isTaken = true
                }
            }
            if isTaken && !inheritsRoutes {
                routeNotes[prefix] = "\(prefix) is routed elsewhere already"
            }
        }
    }

    /// Removes what outlives the interface.
    public mutating func retire() {
        do {
            try place.detach(name, place.openNetlink())
        } catch {
            note = "\(error)"
        }
    }

    /// Notes what went wrong.
    ///
    /// A socket in a namespace would keep it alive after its removal: each step opens its own.
    /// - Returns: Whether nothing did.
    @discardableResult
    private mutating func attempt(_ body: (Way) throws(NetlinkError) -> Void) -> Bool {
        do {
            let netlink = place == .host ? netlink : try place.openNetlink()
            if !isAttached {
                try place.attach(name, netlink)
                isAttached = true
            }
            try body(
                Way(
                    netlink: netlink, place: place, device: netlink.linkByName(name).index,
                    table: place.table(netlink)))
            note = nil
            return true
        } catch {
            note = "\(error)"
            return false
        }
    }

    private static func precedes(_ first: InterfaceAddress, _ second: InterfaceAddress) -> Bool {
        first.address < second.address
    }

    private static let notesMax = 8
}

/// What leads to the interface, for one step.
private struct Way {
    let netlink: RoutingNetlink
    let place: InterfacePlace
    let device: UInt32
    let table: UInt32

    /// The main table must not know the network of an interface with a table of its own.
    func add(_ address: InterfaceAddress) throws(NetlinkError) {
        guard case .table = place else {
            return try netlink.addAddress(address, device: device)
        }
        try netlink.addAddress(address, device: device, routesNetwork: false)
        if try netlink.link(device).isUp { try routeNetwork(of: address) }
    }

    func remove(_ address: InterfaceAddress) throws(NetlinkError) {
        try netlink.removeAddress(address, device: device)
        guard case .table = place, let network = Self.network(of: address) else { return }
        do throws(NetlinkError) {
            try netlink.removeRoute(network, device: device, table: table)
        } catch {
            guard error.errno == .noSuchProcess else { throw error }
        }
    }

    func routeNetwork(of address: InterfaceAddress) throws(NetlinkError) {
        guard let network = Self.network(of: address) else { return }
        do throws(NetlinkError) {
            try netlink.addRoute(network, device: device, table: table)
        } catch {
            guard error.errno == .fileExists else { throw error }
        }
    }

    private static func network(of address: InterfaceAddress) -> IPPrefix? {
        IPPrefix(address.address, length: address.prefixLength)
    }
}
