import PacketFormats
import PacketMemory

/// Rules as lookups: address to class, class and port to rows of ``RuleVectors``.
final class CompiledRules: Sendable {
    private let ipv4: IntervalTree
    private let ipv6: IntervalTree
    /// For each class of addresses the row as a source and as a destination.
    private let classes: ByteArena
    private let classRegion: ByteRegion
    private let vectors: RuleVectors
    private let tcp: PortRows
    private let udp: PortRows
    private let icmpRow: Int32
    private let otherRow: Int32
    let names: RuleNames

    init(_ rules: AccessRules) {
        names = RuleNames(rules)
        var table = RuleSetTable()
        let layout = AddressLayout(rules)
        var classes: [SIMD2<Int32>] = []
        var numbers: [SIMD2<Int32>: Int32] = [:]
        var owners: [IPPrefix: Int32] = [:]
        var known: [AddressIdentity: Int32] = [:]
        for (prefix, identity) in layout.identities {
            if let number = known[identity] {
                owners[prefix] = number
                continue
            }
            let rows = SIMD2(
                table.row(of: names.sources(identity)),
                table.row(of: names.destinations(identity)))
            let number = numbers[rows] ?? Int32(classes.count)
            if number == classes.count {
                classes.append(rows)
                numbers[rows] = number
            }
            known[identity] = number
            owners[prefix] = number
        }
        ipv4 = IntervalTree(owners, isIPv4: true)
        ipv6 = IntervalTree(owners, isIPv4: false)
        tcp = PortRows(names.portStarts(.tcp).map { ($0.port, table.row(of: $0.rules)) })
        udp = PortRows(names.portStarts(.udp).map { ($0.port, table.row(of: $0.rules)) })
        icmpRow = table.row(of: names.withoutPorts(.icmp))
        otherRow = table.row(of: names.withoutPorts(.other))
        vectors = RuleVectors(table.all)
        self.classes = ByteArena(count: max(classes.count, 1) * Self.classBytes)
        classRegion = self.classes.whole
        for (index, rows) in classes.enumerated() {
            let offset = index * Self.classBytes
            classRegion.storeLittleEndian(UInt32(bitPattern: rows.x), at: offset)
            classRegion.storeLittleEndian(UInt32(bitPattern: rows.y), at: offset + 4)
        }
    }

    var byteCount: Int {
        ipv4.byteCount + ipv6.byteCount + classRegion.count + vectors.byteCount + tcp.byteCount
            + udp.byteCount
    }

    /// - Returns: ``IntervalTree/none`` for an address that is nobody's.
    @inline(__always)
    func sourceClass(_ addresses: FlowAddresses) -> Int32 {
        addresses.isIPv4
            ? ipv4.lookup(narrow: UInt32(truncatingIfNeeded: addresses.sourceLow))
            : ipv6.lookup(wide: UInt128(addresses.sourceHigh) << 64 | UInt128(addresses.sourceLow))
    }

    @inline(__always)
    func destinationClass(_ addresses: FlowAddresses) -> Int32 {
        addresses.isIPv4
            ? ipv4.lookup(narrow: UInt32(truncatingIfNeeded: addresses.destinationLow))
            : ipv6.lookup(
                wide: UInt128(addresses.destinationHigh) << 64 | UInt128(addresses.destinationLow))
    }

    /// What the rules say of a connection that is opened from one class to another.
    @inline(__always)
    func decide(
        from source: Int32, to destination: Int32, _ transport: AccessRules.Transport,
        port: UInt16
    ) -> AccessDecision {
        guard source >= 0, destination >= 0 else {
            return AccessDecision(isAllowed: false, rule: AccessFilter.defaultDeny)
        }
        let from = classRegion.littleEndian32(at: Int(source) &* Self.classBytes)
        let to = classRegion.littleEndian32(at: Int(destination) &* Self.classBytes &+ 4)
        return vectors.match(
            from: Int32(bitPattern: from), to: Int32(bitPattern: to),
            ports: portRow(transport, port))
    }

    @inline(__always)
    private func portRow(_ transport: AccessRules.Transport, _ port: UInt16) -> Int32 {
        switch transport {
        case .tcp: tcp.row(of: port)
        case .udp: udp.row(of: port)
        case .icmp: icmpRow
        case .other: otherRow
        }
    }

    private static let classBytes = 8
}

// MARK: - Questions

extension CompiledRules {
    /// The row of the rules that let it open connections; `nil` for an address that is nobody's.
    func sourceRules(_ side: AccessSide) -> RuleSet? {
        switch side {
        case .address(let address):
            row(of: address, at: 0)
        case .groups(let groups): names.sources(AddressIdentity(groups: groups))
        case .service: nil
        }
    }

    func destinationRules(_ side: AccessSide) -> RuleSet? {
        switch side {
        case .address(let address):
            row(of: address, at: 4)
        case .groups(let groups): names.destinations(AddressIdentity(groups: groups))
        case .service(let name): names.destinations(AddressIdentity(services: [name]))
        }
    }

    func decide(
        _ from: RuleSet?, _ to: RuleSet?, _ transport: AccessRules.Transport, _ port: UInt16
    ) -> AccessDecision {
        guard let from, let to else {
            return AccessDecision(isAllowed: false, rule: AccessFilter.defaultDeny)
        }
        return RuleSet.match(from, to, vectors.set(at: portRow(transport, port)))
    }

    private func row(of address: IPAddress, at offset: Int) -> RuleSet? {
        let number = address.isIPv4
            ? ipv4.lookup(narrow: address.ipv4)
            : ipv6.lookup(wide: UInt128(address.high) << 64 | UInt128(address.low))
        guard number >= 0 else { return nil }
        let row = classRegion.littleEndian32(at: Int(number) * Self.classBytes + offset)
        return vectors.set(at: Int32(bitPattern: row))
    }
}
