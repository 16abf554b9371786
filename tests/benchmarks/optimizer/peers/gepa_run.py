"""`gepa` as PyPI has it: reflective evolution of the instruction, minibatches of three, the Pareto frontier on dev."""

import random
from contextlib import suppress
from typing import Any

import gepa
from client import Client, OverBudgetError
from gepa.core.adapter import EvaluationBatch


class Adapter:
    propose_new_texts = None

    def __init__(self, client: Client) -> None:
        self._client = client

    def evaluate(self, batch: list[dict[str, str]], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        said = self._client.labels(candidate["instruction"], [], [row["text"] for row in batch])
        scores = [float(label == row["label"]) for label, row in zip(said, batch, strict=True)]
        traces = [{"row": row, "said": label} for row, label in zip(batch, said, strict=True)]
        return EvaluationBatch(outputs=said, scores=scores, trajectories=traces if capture_traces else None)

    def make_reflective_dataset(self, candidate: Any, eval_batch: Any, components_to_update: list[str]) -> Any:  # noqa: ARG002
        records = [
            {
                "Inputs": one["row"]["text"],
                "Generated Outputs": one["said"],
                "Feedback": f"It is {one['row']['label']}.",
            }
            for one in eval_batch.trajectories
        ]
        return dict.fromkeys(components_to_update, records)


def main() -> None:
    client = Client.from_arguments()
    pool = random.Random(client.job["seed"]).sample(client.job["pool"], len(client.job["pool"]))
    handed_out = 0

    def teacher(prompt: Any) -> str:
        nonlocal handed_out
        handed_out += 1
        written = client.taught(str(prompt))
        if written is not None:
            return written
        return f"```\n{pool[(handed_out - 1) % len(pool)]}\n```"

    with suppress(OverBudgetError):
        gepa.optimize(
            seed_candidate={"instruction": client.job["naive"]},
            trainset=client.job["train"],
            valset=client.job["dev"],
            adapter=Adapter(client),
            reflection_lm=teacher,
            stop_callbacks=[lambda _state: client.left <= 0 or handed_out >= 4 * len(pool)],
            max_metric_calls=50 * client.job["budget"],  # asking again is free here: the student's count ends it
            seed=client.job["seed"],
            raise_on_exception=True,
        )
    client.finish()


if __name__ == "__main__":
    main()
