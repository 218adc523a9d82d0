import Cryptography
import PacketFormats
import PacketMemory
import Synchronization

extension Session {
    /// Writes the session with its keys, and the counter that nobody has used yet.
    func write(to writer: inout SnapshotWriter) {
        writer.write(localIndex)
        writer.write(remoteIndex)
        writer.write(isInitiator)
        writer.write(createdAt)
        writer.write(sendKey)
        writer.write(receiveKey)
        writer.write(nextCounter.load(ordering: .sequentiallyConsistent))
        writer.write(state.load(ordering: .sequentiallyConsistent))
        window.withLock { $0.write(to: &writer) }
    }

    convenience init(
        from reader: inout SnapshotReader, of peer: PeerID, in tunnel: TunnelID,
        profile: TunnelProfile, activity: PeerActivity
    ) throws(SnapshotError) {
        guard profile.isAvailable else { throw .invalid("a cipher that this machine lacks") }
        let (localIndex, remoteIndex) = (try reader.uint32(), try reader.uint32())
        let (isInitiator, createdAt) = (try reader.bool(), try reader.uint64())
        let sendKey = try reader.secret()
        let receiveKey = try reader.secret()
        let (counter, flags) = (try reader.uint64(), try reader.uint8())
        guard counter <= profile.rejectAfterMessages else {
            throw .invalid("a session's counter")
        }
        guard flags & ~(State.confirmed | State.askedForRekey) == 0,
            !isInitiator || flags & State.confirmed != 0
        else { throw .invalid("a session's state") }
        let written = try ReplayWindow.Written(from: &reader, of: profile)
        self.init(
            localIndex: localIndex, remoteIndex: remoteIndex, tunnel: tunnel, peer: peer,
            profile: profile, isInitiator: isInitiator, createdAt: createdAt, activity: activity,
            sendKey: sendKey, receiveKey: receiveKey)
        nextCounter.store(counter, ordering: .sequentiallyConsistent)
        state.store(flags, ordering: .sequentiallyConsistent)
        window.withLock { $0.restore(written) }
    }
}
