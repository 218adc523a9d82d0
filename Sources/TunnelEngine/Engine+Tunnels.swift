import LinuxNetworking
import Logging
import WireGuardProtocol

/// A tunnel that has ended, until every worker has let go of it.
struct LeavingTunnel {
    let tunnel: Tunnel
    var workersLeft: Int
}

/// Tunnels that come and go.
extension Engine {
    /// Adds a tunnel; for the thread of ``run()``, or before it runs.
    ///
    /// - Throws: Why it cannot be served; then its device and listener are closed.
    @discardableResult
    public func add(_ setup: TunnelSetup) throws -> Tunnel {
        do {
            precondition(
                isShared || tunnels.isEmpty, "an engine without a shared port has one tunnel")
            let number = try freeNumber()
            let tunnel = try Tunnel(
                setup, number: number, lane: Int(number) % options.laneCount, engine: self)
            tunnels[number] = tunnel
            handoverGeneration += 1
            for index in workers.indices {
                pendingCommands[index].append(.addTunnel(tunnel.port(forWorker: index)))
            }
            postCommands()
            return tunnel
        } catch {
            setup.listener.close()
            setup.tun.close()
            throw error
        }
    }

    /// Makes room for a tunnel of another process, of which no worker hears yet.
    ///
    /// - Throws: As ``add(_:)``.
    func adopt(_ setup: TunnelSetup, _ number: TunnelID) throws {
        do {
            guard number >= 0, Int(number) < EngineLimits.tunnelsMax, tunnels[number] == nil else {
                throw TunnelControlError.tooManyTunnels
            }
            tunnels[number] = try Tunnel(
                setup, number: number, lane: Int(number) % options.laneCount, engine: self,
                isRunningElsewhere: true)
        } catch {
            setup.listener.closeKeepingFile()
            setup.tun.close()
            throw error
        }
    }

    private func freeNumber() throws(TunnelControlError) -> TunnelID {
        for number in 0..<TunnelID(EngineLimits.tunnelsMax)
        where tunnels[number] == nil && leavingTunnels[number] == nil {
            return number
        }
        throw .tooManyTunnels
    }

    /// Every tunnel's, by its name.
    public var controls: [String: TunnelControl] {
        Dictionary(
            tunnels.values.map { ($0.name, $0.control) }, uniquingKeysWith: { first, _ in first })
    }

    /// Takes leave of tunnels that have ended. The only tunnel of an engine takes that with it.
    func removeEnded() {
        for (number, tunnel) in tunnels {
            guard let tunnelEnd = tunnel.end else { continue }
            guard isShared else {
                end = tunnelEnd == .deviceRemoved ? .deviceRemoved : .stopped
                return
            }
            tunnel.log.notice(
                tunnelEnd == .deviceRemoved ? "the interface was deleted" : "stopped")
            tunnels[number] = nil
            keys.remove(number)
            handoverGeneration += 1
            tunnel.leave()
            leavingTunnels[number] = LeavingTunnel(tunnel: tunnel, workersLeft: workers.count)
            postToAll(.removeTunnel(number))
        }
    }

    func noteForgotten(_ number: TunnelID) {
        guard var leaving = leavingTunnels[number] else { return }
        leaving.workersLeft -= 1
        leavingTunnels[number] = leaving.workersLeft > 0 ? leaving : nil
        if leaving.workersLeft == 0 { leaving.tunnel.close() }
    }
}

extension Tunnel {
    func port(forWorker index: Int) -> TunnelPort {
        TunnelPort(
            number: number, tun: tun.queues[min(index, tun.queues.count - 1)],
            offloads: tun.offloads, hasVirtioHeader: tun.hasVirtioHeader, mtu: settings.mtu,
            isUp: settings.isUp, lane: device.placement.lane, limits: limits,
            counters: counters[index])
    }

    /// Gives back what the engine keeps of it: nobody reaches it any more.
    func leave() {
        control.end()
        finishReports()
        for connection in connections.values {
            try? loop.remove(connection.stream.fileDescriptor)
        }
        try? loop.remove(listener.fileDescriptor)
        try? loop.remove(control.bell.fileDescriptor)
        if let monitor { try? loop.remove(monitor.fileDescriptor) }
        for id in peers.keys { device.removePeer(id) }
        while device.actions.popFirst() != nil {}
    }
}
