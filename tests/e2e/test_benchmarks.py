"""`make bench` runs: a minute of it, against the real local LLM; its figures are nobody's business here."""

import subprocess
import sys

from demo.label_studio_environment import ROOT

LIMIT_S = 1800


def test_the_speed_benchmark_runs_to_its_end() -> None:
    bench = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "speed", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert bench.returncode == 0, bench.stdout + bench.stderr
    assert "One-task /predict, local smollm2-135m" in bench.stdout
