import CLinux

/// The classic BPF program that spreads datagrams over the sockets of a group.
///
/// It sees the UDP payload. Transport data (type 4, of whichever profile: that stands in the second
/// byte) goes to the data socket that its receiver index names: the low byte selects the worker, so
/// that one thread sees all datagrams of a session, the next byte the lane. Everything else, also
/// what is too short to have a receiver index, goes to the control socket behind them.
///
/// With UDP_GRO the first datagram of a train decides for all of it.
enum SteeringFilter {
    /// The data sockets come in the order lane by lane, in each lane worker by worker.
    static func program(workerCount: Int, laneCount: Int) -> [clinux_filter] {
        let workers = UInt32(workerCount)
        let control = UInt32(workerCount * laneCount)
        return [
            // A load beyond the end would end the program with 0, the first data socket: look at
            // the length first.
            instruction(loadLength, 0),
            instruction(jumpIfAtLeast, 8, whenFalse: 10),
            instruction(loadByte, 0),
            instruction(jumpIfEqual, 4, whenFalse: 8),
            instruction(loadByte, 5),
            instruction(modulo, UInt32(laneCount)),
            instruction(multiply, workers),
            instruction(copyToIndex, 0),
            instruction(loadByte, 4),
            instruction(modulo, workers),
            instruction(addIndex, 0),
            instruction(returnAccumulator, 0),
            instruction(returnConstant, control),
        ]
    }

    private static func instruction(
        _ code: UInt16, _ operand: UInt32, whenFalse: UInt8 = 0
    ) -> clinux_filter {
        clinux_filter(code: code, when_true: 0, when_false: whenFalse, operand: operand)
    }

    // Opcodes of classic BPF: class, size or operation, mode or source (linux/bpf_common.h).
    private static let loadLength: UInt16 = 0x80
    private static let loadByte: UInt16 = 0x30
    private static let jumpIfEqual: UInt16 = 0x15
    private static let jumpIfAtLeast: UInt16 = 0x35
    private static let modulo: UInt16 = 0x94
    private static let multiply: UInt16 = 0x24
    private static let addIndex: UInt16 = 0x0c
    private static let copyToIndex: UInt16 = 0x07
    private static let returnConstant: UInt16 = 0x06
    private static let returnAccumulator: UInt16 = 0x16
}
