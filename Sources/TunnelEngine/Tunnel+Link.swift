import LinuxNetworking
import Logging
import PacketFormats
import WireGuardProtocol

/// What the kernel and the workers report.
extension Tunnel {
    /// Reads MTU and state once at start; afterwards changes are announced, or looked for.
    func readLink() throws {
        let link = try inNamespaceOfDevice { try RoutingNetlink().link(linkIndex) }
        settings.mtu = link.mtu
        settings.isUp = link.isUp
        device.setPacketMax(link.mtu)
    }

    func inNamespaceOfDevice<Result>(_ body: () throws -> Result) throws -> Result {
        monitor != nil ? try body() : try tun.inItsNamespace(body)
    }

    func readLinkChanges() {
        while let change = monitor?.next() {
            switch change {
            case .changed(let link) where link.index == linkIndex:
                note(link)
            case .removed(let index) where index == linkIndex:
                followDevice()
            case .overflowed:
                followDevice()
            case .changed, .removed:
                break
            }
        }
    }

    /// Finds the device again after events were lost, or after it left our namespace: it was
    /// deleted, or moved to another. The sockets stay where they were opened.
    private func followDevice() {
        guard tun.isAttached else { return end = .deviceRemoved }
        do {
            return note(try RoutingNetlink().link(linkIndex))
        } catch {
            log.debug("the interface is in another network namespace")
        }
        if let monitor { try? loop.remove(monitor.fileDescriptor) }
        monitor = nil
        foreignLinkDeadline = Clock.monotonicNanoseconds()
    }

    /// Looks at a device in another namespace from time to time: a socket that listened there would
    /// keep the namespace alive, and with it the device, after its container has ended.
    func reviewForeignLink() {
        let now = Clock.monotonicNanoseconds()
        guard let deadline = foreignLinkDeadline, deadline <= now else { return }
        foreignLinkDeadline = now + EngineLimits.foreignLinkNanoseconds
        lookAtForeignLink()
    }

    /// Takes up the state of a device in another namespace now, as after somebody changed it.
    func lookAtForeignLink() {
        guard monitor == nil else { return }
        guard tun.isAttached else { return end = .deviceRemoved }
        do {
            note(
                try tun.inItsNamespace { () throws -> LinkState in
                    try RoutingNetlink().linkByName(tun.name)
                })
        } catch {
            foreignLinkDeadline = nil
            log.warning("the interface's state can't be followed any more: \(error)")
        }
    }

    private func note(_ link: LinkState) {
        if link.mtu != settings.mtu {
            log.info("MTU is now \(link.mtu)")
            settings.mtu = link.mtu
            device.setPacketMax(link.mtu)
            postToAll([.setMTU(link.mtu)])
        }
        guard link.isUp != settings.isUp else { return }
        settings.isUp = link.isUp
        log.info("interface is \(link.isUp ? "up" : "down")")
        if link.isUp {
            // Before there are sockets: no worker has asked for anything yet that this discards.
            device.expireAllKeys()
            device.startPersistentKeepalives(now: Clock.monotonicNanoseconds())
            performActions()
            engine.updateSockets()
            postToAll([.setUp(true)])
        } else {
            engine.updateSockets()
            postToAll([.setUp(false)])
            device.expireAllKeys()
            performActions()
        }
    }

    func noteRoaming(_ id: PeerID, _ endpoint: Endpoint, _ local: LocalAddress?) {
        guard var peer = peers[id] else { return }
        if peer.endpoint != endpoint { log.trace("peer \(peer.name) is now at \(endpoint)") }
        peer.endpoint = endpoint
        peer.localAddress = local
        peers[id] = peer
        device.endpointChanged(id, endpoint)
        postDestination(of: id, peer)
        engine.postCommands()
    }

    /// Lets the routing table choose where datagrams leave from, until peers are heard of again.
    func forgetLocalAddresses() {
        for (id, peer) in peers where peer.localAddress != nil {
            peers[id]?.localAddress = nil
            postDestination(of: id, PeerState(publicKey: peer.publicKey, endpoint: peer.endpoint))
        }
        engine.postCommands()
    }

    /// Has all workers do something for this tunnel, now.
    func postToAll(_ commands: [TunnelCommand]) {
        for command in commands { queueForAll(command) }
        engine.postCommands()
    }

    func queueForAll(_ command: TunnelCommand) {
        for index in engine.workers.indices { queue(command, for: index) }
    }

    /// Has a worker do something when commands are posted next.
    func queue(_ command: TunnelCommand, for worker: Int) {
        engine.pendingCommands[worker].append(.tunnel(number, command))
    }
}
