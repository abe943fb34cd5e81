"""How fast, how accurate, how small, against whom? `make bench` measures, and writes RESULTS.md from that."""
