"""A Label Studio of several projects, each with tasks of its own; only their numbers tell them apart."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.flows.label_studio_stub import LabelStudioStub
from tests.flows.payloads import PROJECT

NUMBER = re.compile(r"(?<=/api/projects/)\d+")


def key_of(number: int) -> str:
    return f"{number}.{PROJECT.partition('.')[2]}"


class LabelStudioProjects(LabelStudioStub):
    """Each of `projects` is a stub that takes itself for number 1. All have one backend, which keeps its title."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.projects = {number: LabelStudioStub(connected=False) for number in range(1, count + 1)}

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: Any) -> tuple[int, Any]:
        parts = urlsplit(target)
        named = NUMBER.search(parts.path)
        number = int(named.group() if named else parse_qs(parts.query)["project"][0])
        status, answer = self.projects[number].answer(method, NUMBER.sub("1", target), headers, body)
        return status, {**answer, "id": number} if parts.path == f"/api/projects/{number}/" else answer
