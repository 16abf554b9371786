"""What the bars of speed and the local models are measured with: `python -m tests.benchmarks --help`."""
