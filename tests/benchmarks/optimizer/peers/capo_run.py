"""promptolution's CAPO as PyPI has it: evolution of instruction and demonstrations, raced block by block."""

import random
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from client import Client, OverBudgetError
from promptolution.llms.base_llm import BaseLLM
from promptolution.optimizers.capo import CAPO
from promptolution.predictors.base_predictor import BasePredictor
from promptolution.tasks.classification_tasks import ClassificationTask
from promptolution.utils.callbacks import BaseCallback

POPULATION, BLOCK = 8, 15
INPUT, OUTPUT = "\n\nInput:", "\nOutput:\n"


class Teacher(BaseLLM):  # type: ignore[misc]
    """Where none is configured it hands out the pool in turn, whatever it is asked."""

    def __init__(self, client: Client, pool: list[str]) -> None:
        super().__init__()
        self._client = client
        self._pool = pool
        self._count = 0

    def _get_response(self, prompts: list[str], system_prompts: list[str]) -> list[str]:  # noqa: ARG002
        return [self._client.taught(prompt) or self._next() for prompt in prompts]

    def _next(self) -> str:
        self._count += 1
        return f"<prompt>{self._pool[(self._count - 1) % len(self._pool)]}</prompt>"


class Student(BasePredictor):  # type: ignore[misc]
    """Takes CAPO's prompt text apart again: the student gets the instruction and the rows that are shown."""

    def __init__(self, client: Client, llm: BaseLLM) -> None:
        super().__init__(llm)
        self._client = client

    def predict(self, prompts: Any, xs: list[str], system_prompts: Any = None) -> tuple[list[str], list[str]]:  # noqa: ARG002
        asked: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts if isinstance(prompts, list) else [prompts] * len(xs)):
            asked.setdefault(str(prompt), []).append(i)
        said = [""] * len(xs)
        for prompt, places in asked.items():
            instruction, shown = taken_apart(prompt)
            for i, label in zip(places, self._client.labels(instruction, shown, [xs[i] for i in places]), strict=True):
                said[i] = label.lower()
        return said, [f"{x}\n{label}" for x, label in zip(xs, said, strict=True)]

    def _extract_preds(self, preds: list[str]) -> list[str]:
        return preds


def taken_apart(prompt: str) -> tuple[str, list[str]]:
    instruction, *shown = prompt.removesuffix(INPUT).split(f"{INPUT}\n")
    return instruction, [example.partition(OUTPUT)[0] for example in shown]


class Stops(BaseCallback):  # type: ignore[misc]
    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def on_step_end(self, optimizer: Any) -> bool:
        self._client.stop_with(*taken_apart(str(optimizer.prompts[0])))
        return self._client.left > 0


def main() -> None:
    client = Client.from_arguments()
    job = client.job
    random.seed(job["seed"])
    np.random.seed(job["seed"])
    pool = random.Random(job["seed"]).sample(job["pool"], len(job["pool"]))
    dev, train = (pd.DataFrame([{"x": r["text"], "y": r["label"]} for r in job[part]]) for part in ("dev", "train"))
    task = ClassificationTask(dev, job["naive"], n_subsamples=BLOCK, eval_strategy="sequential_block", seed=job["seed"])
    teacher = Teacher(client, pool[POPULATION - 1 :] + pool[: POPULATION - 1])
    optimizer = CAPO(
        Student(client, teacher),
        task,
        teacher,
        initial_prompts=[job["naive"], *pool[: POPULATION - 1]],
        df_few_shots=train,
        create_fs_reasoning=False,  # the student answers with one token
        callbacks=[Stops(client)],
    )
    with suppress(OverBudgetError):
        optimizer.optimize(100)
    client.finish()


if __name__ == "__main__":
    main()
