"""What the benchmarks measure; each file has ``run(data, work) -> list[Bar]``."""
