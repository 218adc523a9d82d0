import LinuxNetworking
import SystemPackage
import TunnelEngine

/// The domain and the interface of a tenant, as the system gives them.
struct TenantDevice {
    let place: InterfacePlace
    /// The namespace that was made for it; `nil` where there was one.
    let madeNamespace: String?
    let interface: String
    /// For the engine; `nil` where that has the interface from an earlier process.
    let setup: TunnelSetup?

    /// Makes what is missing: the namespace, the TUN device in it, the configuration socket.
    ///
    /// - Throws: ``TenantFault``; then only the namespace stays.
    static func make(_ domain: TenantDomain, queueCount: Int) throws(TenantFault) -> TenantDevice {
        let (place, made) = try openPlace(domain.place)
        var namespace: NetworkNamespace?
        if case .namespace(let found) = place { namespace = found }
        let tun: TunDevice
        do {
            tun = try TunDevice.create(
                name: domain.interface, queueCount: queueCount, namespace: namespace)
        } catch {
            throw fault(of: error, domain)
        }
        do {
            let listener = try UnixSocketListener(
                path: UnixSocketListener.configurationPath(of: domain.interface))
            return TenantDevice(
                place: place, madeNamespace: made, interface: domain.interface,
                setup: TunnelSetup(name: domain.interface, tun: tun, listener: listener))
        } catch {
            tun.close()
            if case .failed(_, _, let errno) = error, let fault = TenantFault(exhausted: errno) {
                throw fault
            }
            throw TenantFault(.socketUnusable, "\(error)")
        }
    }

    /// The device that the engine has from an earlier process.
    static func inherited(_ domain: TenantDomain) throws(TenantFault) -> TenantDevice {
        let (place, made) = try openPlace(domain.place)
        return TenantDevice(
            place: place, madeNamespace: made, interface: domain.interface, setup: nil)
    }

    private static func openPlace(
        _ place: TenantDomain.Place
    ) throws(TenantFault) -> (InterfacePlace, made: String?) {
        switch place {
        case .host: return (.host, nil)
        case .table(let number): return (.table(number), nil)
        case .vrf(let device): return (.vrf(device), nil)
        case .namespace(let name):
            do throws(NamespaceError) {
                if name.hasPrefix("/") {
                    return (.namespace(try NetworkNamespace(path: name)), nil)
                }
                do throws(NamespaceError) {
                    return (.namespace(try NetworkNamespace(name: name)), nil)
                } catch .missing {
                    return (.namespace(try NetworkNamespace.create(name: name)), name)
                }
            } catch {
                throw fault(of: error)
            }
        }
    }

    private static func fault(of error: NamespaceError) -> TenantFault {
        switch error {
        case .failed(_, let errno):
            TenantFault(exhausted: errno) ?? TenantFault(.namespaceUnusable, "\(error)")
        case .vanished: TenantFault(.namespaceGone, "\(error)")
        default: TenantFault(.namespaceUnusable, "\(error)")
        }
    }

    private static func fault(of error: TunError, _ domain: TenantDomain) -> TenantFault {
        switch error {
        case .namespace(let error): fault(of: error)
        case .failed(_, let errno):
            TenantFault(exhausted: errno) ?? TenantFault(.deviceUnusable, "\(error)")
        case .nameInUse: TenantFault(.duplicateInterface, "\(error)")
        default: TenantFault(.deviceUnusable, "\(error)")
        }
    }

    /// What is wrong with the domain of a device that is served; `nil` where nothing is.
    func placeFault(_ domain: TenantDomain) -> TenantFault? {
        guard case .namespace(let namespace) = place, !namespace.isPresent else { return nil }
        return TenantFault(
            .namespaceGone,
            "the network namespace \(namespace) of \(domain.tenant) is gone, and with it "
                + "\(domain.interface)")
    }

    /// Takes back what outlives the interface.
    func retire() {
        guard let netlink = try? place.openNetlink() else { return }
        try? place.detach(interface, netlink)
    }

    /// Removes a namespace that was made for a tenant.
    static func removeNamespace(_ name: String) throws {
        try NetworkNamespace(name: name).remove()
    }
}
