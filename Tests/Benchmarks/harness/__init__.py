"""What the benchmarks share: a laboratory of namespaces, the systems under test, and reports."""
