import Testing

@testable import SimulatedInference

@Suite struct PrometheusTextTests {
    @Test func sampleOnABorderCountsBelowIt() {
        var histogram = Histogram(borders: [1, 2])
        for value in [1, 1.000_1, 2, 2.000_1] { histogram.observe(value) }
        #expect(histogram.counts == [1, 2, 1])
        #expect(histogram.count == 4)
    }

    @Test func bucketsAreCumulative() {
        var histogram = Histogram(borders: [1, 2])
        for value in [0.5, 1.5, 9] { histogram.observe(value) }
        var page = PrometheusText(labels: [("model_name", "m")])
        page.histogram("h", "Help.", histogram)
        #expect(
            page.text == """
                # HELP h Help.
                # TYPE h histogram
                h_bucket{model_name="m",le="1.0"} 1.0
                h_bucket{model_name="m",le="2.0"} 2.0
                h_bucket{model_name="m",le="+Inf"} 3.0
                h_sum{model_name="m"} 11.0
                h_count{model_name="m"} 3.0

                """)
    }

    @Test func labelValuesAreEscaped() {
        var page = PrometheusText(labels: [("a", "q\"b\\n\n")])
        page.gauge("g", "Help.", 1)
        #expect(page.text.hasSuffix("g{a=\"q\\\"b\\\\n\\n\"} 1.0\n"))
    }
}
