"""DSPy's MIPROv2 as PyPI has it: instructions and bootstrapped demonstrations, chosen together by a Bayesian search."""

import logging
import os
import random
from typing import Any

import dspy
from client import Client, OverBudgetError
from dspy.utils import DummyLM

MINIBATCH, FULL_EVERY = 35, 5


class Student(dspy.Predict):  # type: ignore[misc]
    """Answers through the recorded student, with the instruction and demonstrations that MIPROv2 has set on it."""

    def forward(self, **inputs: Any) -> Any:
        shown = [demonstration["text"] for demonstration in self.demos]
        (label,) = CLIENT.labels(self.signature.instructions, shown, [inputs["text"]])
        return self._forward_postprocess([{"label": label}], self.signature, text=inputs["text"])


class Program(dspy.Module):  # type: ignore[misc]
    def __init__(self, instruction: str) -> None:
        super().__init__()
        self.student = Student(dspy.Signature("text -> label", instruction))

    def forward(self, text: str) -> Any:
        return self.student(text=text)


def agrees(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.label == prediction.label)


def examples(rows: list[dict[str, str]]) -> list[Any]:
    return [dspy.Example(text=row["text"], label=row["label"]).with_inputs("text") for row in rows]


def teacher(pool: list[str]) -> Any:
    """DSPy speaks to a configured teacher itself; else the pool is handed out, whatever is asked."""
    if CLIENT.job["teaches"]:
        name, address = os.environ.get("TEACHER_MODEL") or "default", os.environ.get("TEACHER_BASE_URL")
        key = os.environ.get("TEACHER_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
        return dspy.LM(f"openai/{name}", api_base=address or None, api_key=key)
    # The first proposal is replaced by the instruction at hand.
    texts = [CLIENT.job["naive"], *pool]
    return DummyLM([{"proposed_instruction": text, "reasoning": "-"} for text in texts * 4])


def main() -> None:
    job = CLIENT.job
    logging.getLogger("dspy").setLevel(logging.ERROR)
    pool = random.Random(job["seed"]).sample(job["pool"], len(job["pool"]))
    dspy.configure(lm=teacher(pool))
    dev = len(job["dev"])
    trials = max(1, int((job["budget"] - dev) / (MINIBATCH + dev / FULL_EVERY)))
    optimizer = dspy.MIPROv2(
        metric=agrees,
        auto=None,
        num_candidates=len(pool) + 1,
        seed=job["seed"],
        num_threads=1,
        max_errors=1,
        verbose=False,
    )
    try:
        optimizer.compile(
            Program(job["naive"]),
            trainset=examples(job["train"]),
            valset=examples(job["dev"]),
            num_trials=trials,
            minibatch_size=min(MINIBATCH, dev),
            program_aware_proposer=job["teaches"],
            data_aware_proposer=job["teaches"],
            tip_aware_proposer=job["teaches"],
            fewshot_aware_proposer=job["teaches"],
        )
    except OverBudgetError:
        pass
    except Exception:
        if CLIENT.left > 0:
            raise
    CLIENT.finish()


CLIENT = Client.from_arguments()

if __name__ == "__main__":
    main()
