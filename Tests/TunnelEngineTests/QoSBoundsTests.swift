import InferenceTraffic
import Testing
import WireGuardConfiguration

/// Counts go from the flow table to whoever asks by their place alone.
@Suite struct QoSBoundsTests {
    @Test func histogramsHaveTheSameBoundsOnBothSides() {
        func microseconds(_ seconds: [Double]) -> [Int] {
            seconds.map { Int(($0 * 1e6).rounded()) }
        }
        #expect(
            microseconds(QoSStatus.timeToFirstChunkBounds)
                == StreamMeasure.timeToFirstChunkBoundsMicroseconds)
        #expect(
            microseconds(QoSStatus.timePerOutputChunkBounds)
                == StreamMeasure.timePerOutputChunkBoundsMicroseconds)
    }
}
