package import PacketMemory

extension ByteArena {
    /// Memory holding `bytes`, and after them `extra` bytes of 0xa5.
    package convenience init(_ bytes: [UInt8], extra: Int = 0) {
        self.init(count: max(bytes.count + extra, 1))
        whole.fill(with: 0xa5)
        for (offset, byte) in bytes.enumerated() { whole[offset] = byte }
    }
}
