import Telemetry
import Testing

@Suite struct PrometheusTextTests {
    @Test func samplesFollowTheirFamily() {
        var text = PrometheusText()
        text.family("requests_total", .counter, "Answered.\nAll.")
        text.sample("requests_total", 3, [("route", "/a"), ("status", "200")])
        text.sample("requests_total", 0.5)
        #expect(
            text.text == """
                # HELP requests_total Answered.\\nAll.
                # TYPE requests_total counter
                requests_total{route="/a",status="200"} 3
                requests_total 0.5

                """)
    }

    @Test func labelValuesCannotBreakOut() {
        var text = PrometheusText()
        text.sample("a", 1, [("x", "\"} 9\nb{\\")])
        #expect(text.text == "a{x=\"\\\"} 9\\nb{\\\\\"} 1\n")
    }

    @Test func unusualNumbersHaveTheirNames() {
        var text = PrometheusText()
        for value in [Double.infinity, -.infinity, .nan, 2, 1e300] { text.sample("a", value) }
        #expect(text.text == "a +Inf\na -Inf\na NaN\na 2\na 1e+300\n")
    }

    @Test func aHistogramIsCumulative() {
        var histogram = Histogram(bounds: [1, 2.5])
        for value in [0.5, 1, 1.5, 2.5, 3] { histogram.record(value) }
        #expect(histogram.counts == [2, 2, 1])
        #expect(histogram.count == 5)
        var text = PrometheusText()
        text.histogram("h", histogram, [("a", "b")])
        #expect(
            text.text == """
                h_bucket{a="b",le="1"} 2
                h_bucket{a="b",le="2.5"} 4
                h_bucket{a="b",le="+Inf"} 5
                h_sum{a="b"} 8.5
                h_count{a="b"} 5

                """)
    }
}
