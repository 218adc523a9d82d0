import ControlModel
import NIOCore

/// The watch streams of one event loop. Used on that loop only.
final class WatchLoop {
    unowned let hub: WatchHub
    private var watchers: [UInt64: Watcher] = [:]
    private var byTenant: [Name: Set<UInt64>] = [:]
    private var slot: UInt64 = 0

    init(hub: WatchHub) { self.hub = hub }

    func add(_ watcher: Watcher) {
        watchers[watcher.id] = watcher
        byTenant[watcher.identity.tenant, default: []].insert(watcher.id)
    }

    func remove(_ watcher: Watcher) {
        guard watchers.removeValue(forKey: watcher.id) != nil else { return }
        byTenant[watcher.identity.tenant]?.remove(watcher.id)
        if byTenant[watcher.identity.tenant]?.isEmpty == true {
            byTenant[watcher.identity.tenant] = nil
        }
        hub.left(watcher.identity, watcher.id)
    }

    func deliver(_ frames: [WatchFrame], to tenant: Name) {
        for id in byTenant[tenant] ?? [] { watchers[id]?.deliver(frames[...]) }
    }

    func end(_ id: UInt64, _ reason: Watcher.Ending) { watchers[id]?.end(reason) }

    func endAll(_ reason: Watcher.Ending) {
        for watcher in watchers.values { watcher.end(reason) }
    }

    /// Sends heartbeats to one part of the watchers; called for each part in turn, so that ten
    /// thousand do not get theirs in the same moment.
    func heartbeat() {
        slot = (slot + 1) % WatchHub.heartbeatSlots
        for (tenant, ids) in byTenant {
            guard let head = hub.head(tenant) else { continue }
            let frame = WatchFrame(.heartbeat, number: head)
            for id in ids where id % WatchHub.heartbeatSlots == slot {
                watchers[id]?.heartbeat(frame)
            }
        }
    }
}
