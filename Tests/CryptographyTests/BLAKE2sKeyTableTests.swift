import PacketMemory
import TestSupport
import Testing

@testable import Cryptography

/// Many keys at once against one at a time.
struct BLAKE2sKeyTableTests {
    /// All vectors that this processor has.
    static let widths: [Int32] = [4, 8, 16].filter { $0 <= BLAKE2sKeyTable.widestVector }

    /// The table behind a reference, so that expectations can call it.
    private final class Table {
        private var table: BLAKE2sKeyTable
        var count: Int { table.count }

        init(vectorWidth: Int32 = BLAKE2sKeyTable.widestVector) {
            table = BLAKE2sKeyTable(vectorWidth: vectorWidth)
        }
        func append(_ key: Digest32) { table.append(key) }
        func replace(_ index: Int, with key: Digest32) { table.replace(index, with: key) }
        func removeLast() { table.removeLast() }
        func firstIndex(of data: ByteRegion, mac: ByteRegion, hint: Int? = nil) -> Int? {
            table.firstIndex(of: data, mac: mac, hint: hint)
        }
    }

    private func key(_ random: inout SeededGenerator) -> Digest32 {
        ByteArena.withCopy(of: random.bytes(32)) { Digest32(copying: $0) }
    }

    private func mac(_ key: Digest32, _ data: ByteRegion) -> ByteArena {
        let field = ByteArena(count: MAC16.count)
        key.withBytes { BLAKE2s.mac(key: $0, data) }.write(to: field.whole)
        return field
    }

    @Test(arguments: widths)
    func everyKeyIsFoundByItsMACAtEveryLength(width: Int32) {
        var random = SeededGenerator(seed: UInt64(width))
        let keys = (0..<37).map { _ in key(&random) }
        let table = Table(vectorWidth: width)
        for key in keys { table.append(key) }
        #expect(table.count == 37)
        for count in [1, 3, 4, 60, 63, 64, 65, 116, 127, 128, 129, 192, 200, 1_316] {
            let data = ByteArena(random.bytes(count))
            let region = data.whole.prefix(count)
            for (index, key) in keys.enumerated() {
                let field = mac(key, region)
                for hint in [nil, 0, index, 36, 37, 1_000, -1] {
                    let found = table.firstIndex(of: region, mac: field.whole, hint: hint)
                    #expect(found == index, "\(count) bytes, key \(index), hint \(hint ?? -2)")
                }
            }
        }
    }

    @Test(arguments: widths)
    func oneWrongBitIsEnough(width: Int32) {
        var random = SeededGenerator(seed: 2)
        let table = Table(vectorWidth: width)
        let keys = (0..<20).map { _ in key(&random) }
        for key in keys { table.append(key) }
        let data = ByteArena(random.bytes(116))
        let field = mac(keys[13], data.whole)
        for bit in 0..<128 {
            field.whole[bit / 8] ^= 1 << (bit % 8)
            #expect(table.firstIndex(of: data.whole, mac: field.whole) == nil)
            field.whole[bit / 8] ^= 1 << (bit % 8)
        }
        for bit in stride(from: 0, to: 116 * 8, by: 7) {
            data.whole[bit / 8] ^= 1 << (bit % 8)
            #expect(table.firstIndex(of: data.whole, mac: field.whole) == nil)
            data.whole[bit / 8] ^= 1 << (bit % 8)
        }
        #expect(table.firstIndex(of: data.whole, mac: field.whole) == 13)
    }

    @Test func whatWasRemovedOrReplacedIsNoLongerFound() {
        var random = SeededGenerator(seed: 3)
        let data = ByteArena(random.bytes(116))
        for count in 1...35 {
            let table = Table()
            var keys = (0..<count).map { _ in key(&random) }
            for key in keys { table.append(key) }
            let place = Int.random(in: 0..<count, using: &random)
            let former = keys[place]
            keys[place] = key(&random)
            table.replace(place, with: keys[place])
            #expect(table.firstIndex(of: data.whole, mac: mac(former, data.whole).whole) == nil)
            for (index, key) in keys.enumerated() {
                let field = mac(key, data.whole)
                #expect(table.firstIndex(of: data.whole, mac: field.whole) == index)
            }
            let last = keys.removeLast()
            table.removeLast()
            #expect(table.count == count - 1)
            let field = mac(last, data.whole)
            #expect(table.firstIndex(of: data.whole, mac: field.whole) == nil)
            #expect(table.firstIndex(of: data.whole, mac: field.whole, hint: count - 1) == nil)
        }
    }

    @Test func theFirstOfEqualKeysIsFoundUnlessAnotherGroupIsHinted() {
        var random = SeededGenerator(seed: 4)
        let keys = (0..<40).map { _ in key(&random) }
        let table = Table()
        for key in keys { table.append(key) }
        table.replace(5, with: keys[38])
        table.replace(7, with: keys[38])
        let data = ByteArena(random.bytes(116))
        let field = mac(keys[38], data.whole)
        #expect(table.firstIndex(of: data.whole, mac: field.whole) == 5)
        #expect(table.firstIndex(of: data.whole, mac: field.whole, hint: 38) == 38)
    }

    @Test func nothingIsFoundInNothing() {
        let field = ByteArena([UInt8](repeating: 0, count: 16))
        let table = Table()
        #expect(table.firstIndex(of: field.whole, mac: field.whole, hint: 0) == nil)
        table.append(Digest32())
        #expect(table.firstIndex(of: field.whole.prefix(0), mac: field.whole) == nil)
    }
}
