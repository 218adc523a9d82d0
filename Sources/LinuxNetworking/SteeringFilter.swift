import CLinux

/// The classic BPF program that spreads datagrams over the sockets of a group.
///
/// It sees the UDP payload. Transport data (WireGuard type 4) goes to the data socket that its
/// receiver index names, so that one thread sees all datagrams of a session; everything else,
/// also what is too short to have a receiver index, goes to the control socket behind them.
///
/// With UDP_GRO the first datagram of a train decides for all of it.
enum SteeringFilter {
    static func program(dataSockets: Int) -> [clinux_filter] {
        let control = UInt32(dataSockets)
        return [
            // A load beyond the end would end the program with 0, the first data socket: look at
            // the length first.
            instruction(loadLength, 0),
            instruction(jumpIfAtLeast, 8, whenFalse: 5),
            instruction(loadByte, 0),
            instruction(jumpIfEqual, 4, whenFalse: 3),
            instruction(loadByte, 4),
            instruction(modulo, control),
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
    private static let returnConstant: UInt16 = 0x06
    private static let returnAccumulator: UInt16 = 0x16
}
