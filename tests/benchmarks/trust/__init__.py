"""What may be trusted: benchmarks on real data with the real local models, replayed from recordings."""
