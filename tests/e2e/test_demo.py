"""`make demo`, the first thing a newcomer runs: the real Label Studio and the real local LLM on real reviews."""

import os
import re
import subprocess
import sys

from demo.label_studio_environment import ROOT, LabelStudioEnvironment

LIMIT_S = 2400


def test_the_demo_labels_real_reviews_better_than_chance_and_ends(
    label_studio_environment: LabelStudioEnvironment,
) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env={**os.environ, "DEMO_EXIT": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    accuracies = [int(share) for share in re.findall(r"(\d+)%", demo.stdout.split("Right, against")[1])]
    assert accuracies[4] > 60, demo.stdout
    assert accuracies[3] > accuracies[0], "the most certain quarter is right more often than the least certain"
    assert demo.stdout.count("The run saw") >= 2, "an annotator's labels bring about two runs, each with its verdict"
    assert "In short" in demo.stdout, "it ends with the report"
