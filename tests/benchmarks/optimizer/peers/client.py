"""What every peer's script uses: the job, the student over HTTP, and the prompts that it would stop with.

Runs in the peers' own environment: standard library only.
"""

import http.client
import json
import sys
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class OverBudgetError(Exception):
    """The run's calls are used up."""


@dataclass
class Client:
    """`train` and `dev` are rows {id, text, label}; `pool` is what the scripted teacher hands out."""

    job: dict[str, Any]
    spent: int = 0
    stops: list[dict[str, Any]] = field(default_factory=list)
    _ids: dict[str, str] = field(default_factory=dict)
    _passes: dict[str, dict[str, bool]] = field(default_factory=dict)
    _best: float = -1.0

    @classmethod
    def from_arguments(cls) -> "Client":
        job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        client = cls(job)
        client._ids = {row["text"]: row["id"] for row in (*job["train"], *job["dev"])}
        return client

    @property
    def left(self) -> int:
        return int(self.job["budget"]) - self.spent

    def labels(self, instruction: str, demonstrations: list[str], texts: list[str]) -> list[str]:
        """What the student says of `texts`, shown the rows whose texts are `demonstrations`. A prompt that is right
        more often on a whole pass over `dev` than every one before it is one to stop with."""
        shown, asked = [self._ids[text] for text in demonstrations], [self._ids[text] for text in texts]
        answer = self._post({"instruction": instruction, "demonstrations": shown, "rows": asked})
        self.spent = answer["spent"]
        if answer["over"]:
            raise OverBudgetError
        self._note(instruction, shown, dict(zip(asked, answer["labels"], strict=True)))
        return list(answer["labels"])

    def taught(self, request: str) -> str | None:
        """What the teacher writes; None where there is none, and the pool stands for it."""
        return str(self._post({"teach": request})["text"]) if self.job["teaches"] else None

    def stop_with(self, instruction: str, demonstrations: list[str]) -> None:
        """By the peer's own choice, at what is spent now."""
        shown = [self._ids[text] for text in demonstrations]
        self.stops.append({"spent": self.spent, "instruction": instruction, "demonstrations": shown})

    def finish(self) -> None:
        Path(self.job["result"]).write_text(json.dumps({"stops": self.stops, "spent": self.spent}), encoding="utf-8")

    def _note(self, instruction: str, shown: list[str], said: dict[str, str]) -> None:
        dev = {row["id"]: row["label"] for row in self.job["dev"]}
        passed = self._passes.setdefault(json.dumps([instruction, shown]), {})
        if len(passed) == len(dev):
            return
        passed.update({row: label == dev[row] for row, label in said.items() if row in dev})
        if len(passed) == len(dev):
            accuracy = sum(passed.values()) / len(dev)
            if self.job["stops_at_passes"] and accuracy > self._best:
                self._best = accuracy
                self.stops.append({"spent": self.spent, "instruction": instruction, "demonstrations": shown})

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        address = urlsplit(self.job["url"])
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        try:
            connection.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != HTTPStatus.OK:
                raise RuntimeError(f"the student answered {response.status}")
            found: dict[str, Any] = json.load(response)
            return found
        finally:
            connection.close()
