import Testing

@testable import SimulatedInference

@Suite struct SeededGeneratorTests {
    @Test func sequenceRepeats() {
        var first = SeededGenerator(seed: 3, sequence: 4)
        var second = SeededGenerator(seed: 3, sequence: 4)
        #expect((0..<100).allSatisfy { _ in first.next() == second.next() })
    }

    @Test func neighbouringSeedsAndSequencesDiffer() {
        let starts = (0..<32 as Range<UInt64>).flatMap { seed in
            (0..<32 as Range<UInt64>).map { sequence in
                var generator = SeededGenerator(seed: seed, sequence: sequence)
                return generator.next()
            }
        }
        #expect(Set(starts).count == 1024)
    }

    @Test func unitNumbersStayBelowOneAndFillTheirRange() {
        var generator = SeededGenerator(seed: 1, sequence: 1)
        let numbers = (0..<10_000).map { _ in generator.nextUnit() }
        #expect(numbers.allSatisfy { (0..<1).contains($0) })
        #expect(abs(numbers.reduce(0, +) / 10_000 - 0.5) < 0.02)
    }

    @Test func vocabularyNeedsNoEscapingInJSON() throws {
        for word in Vocabulary.words {
            #expect(try JSONBody.string(word) == "\"\(word)\"")
        }
        #expect(Vocabulary.words.count > 200)
    }
}
