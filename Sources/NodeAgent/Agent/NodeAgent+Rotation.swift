import ControlModel
import CoordinatorClient
import Cryptography
import Logging
import TunnelEngine
import WireGuardConfiguration

/// A new WireGuard key for the node, without losing a packet:
///
/// 1. make the next key and keep it on disk;
/// 2. wait for a moment at which every gateway is up to date;
/// 3. sign the rotation and hand it to the coordinator, which tells the gateways;
/// 4. wait until they have it in force: sessions go on under the old key meanwhile;
/// 5. switch the tunnel, where sessions go on as well;
/// 6. the next key becomes the one on disk.
///
/// Whenever the process dies, the chain on disk names the key to begin with: before step 3 the old
/// one, afterwards the next one.
extension NodeAgent {
    func isRotationDue(at now: Int64) -> Bool {
        guard let every = terms.rotateEverySeconds, !isRotating, isInForce,
            connectedSince != nil
        else { return false }
        return now >= (rotationDueAt ?? keySince + every)
    }

    /// After a restart: the rotation may have got further than the file of the key.
    func completeRotation() {
        guard let nextKey, view.own?.publicKey == nextKey.publicKey else { return }
        finish(nextKey)
    }

    /// - Precondition: `isRotating` is set, so that there is one at a time.
    func rotate() async {
        defer { isRotating = false }
        do {
            if let problem = try await tryToRotate() {
                log.info("the key is not rotated yet: \(problem)")
                rotationDueAt = Self.now + retrySeconds
            } else {
                rotationDueAt = nil
            }
        } catch {
            log.warning("the key is not rotated: \(Self.words(for: error)); it is tried again")
            rotationDueAt = Self.now + retrySeconds
        }
        flushSoon()
    }

    /// - Returns: Why not, if not.
    private func tryToRotate() async throws -> String? {
        let key = try keptNextKey()
        if view.own?.publicKey != key.publicKey {
            let state: CoordinatorAPI.OwnState = try await client.call(.get, "/v1/self").answer
            guard state.gatewaysBehind == 0 else {
                return "\(state.gatewaysBehind) gateways are not up to date"
            }
            guard let chain = try rotationChain(to: key) else { return "the last was just now" }
            let answer: CoordinatorAPI.OwnState = try await client.call(
                .put, "/v1/self/rotation",
                body: CoordinatorAPI.SignedChain(chain: chain.text)).answer
            view.take(own: chain.text, at: Self.now)
            guard view.own?.publicKey == key.publicKey else {
                return "the rotation does not verify here"
            }
            saveTrust()
            if answer.gatewaysBehind > 0 { await waitForGateways() }
        } else {
            await waitForGateways()
        }
        try await control.apply(
            DeviceSettings(privateKey: .set(key), rotatesPrivateKey: true))
        finish(key)
        return nil
    }

    private func keptNextKey() throws -> PrivateKey {
        if let nextKey { return nextKey }
        let key = PrivateKey.generate()
        try folder.beginRotation(to: key)
        nextKey = key
        view.ownKeys.insert(key.publicKey)
        return key
    }

    private func rotationChain(to key: PrivateKey) throws -> StatementChain? {
        guard let own = view.own else { return nil }
        let now = Self.now
        // Numbers are never ahead of the clock.
        guard now > own.rotation?.turn ?? 0, let validity = Validity(
            from: now, until: min(own.grant.validity.until, now + TrustLimits.grantSecondsMax))
        else { return nil }
        let rotation = KeyRotation(
            tenant: own.tenant, serial: own.grant.serial, turn: now, publicKey: key.publicKey,
            validity: validity)
        let links = try StatementChain(parsing: view.ownChain).links
        let granted = own.rotation == nil ? links : links.dropLast()
        return StatementChain(granted).appending(
            try Statement.rotation(rotation).signed(by: nodeKey))
    }

    /// Those that have the new key in force would not take a handshake by the old one, so the
    /// wait has an end: long before sessions do.
    private func waitForGateways() async {
        for attempt in 0..<Self.waitsMax {
            let state: CoordinatorAPI.OwnState?
            state = try? await client.call(.get, "/v1/self").answer
            if state?.gatewaysBehind == 0 || Task.isCancelled { return }
            try? await Task.sleep(for: .milliseconds(min(50 << attempt, 1_000)))
        }
        log.warning("not all gateways know the new key yet; it is used all the same")
    }

    private func finish(_ key: PrivateKey) {
        do {
            try folder.finishRotation()
        } catch {
            // The chain on disk names the key, so the next start tries this again.
            log.error("\(error)")
        }
        wireGuardKey = key
        nextKey = nil
        view.ownKeys = [key.publicKey]
        keySince = Self.now
        saveTrust(always: true)
        log.notice("the node's key was rotated")
    }

    private var retrySeconds: Int64 { min(300, max((terms.rotateEverySeconds ?? 0) / 4, 1)) }
    private static var waitsMax: Int { 30 }
}
