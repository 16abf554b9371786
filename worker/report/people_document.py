"""The part of the report's document that tells of the people who label."""

from typing import TypedDict

from worker.report.shares import AverageJson, ShareJson


class AgreementJson(TypedDict):
    """Beyond chance, in [-1, 1], over `tasks` that two or more people labelled; of a multiple choice one a label
    ("control: label"). Where a value is null, its words say why."""

    question: str
    tasks: int
    alpha: AverageJson
    kappa: AverageJson


class CeilingJson(TypedDict):
    """How often a person, and the active version, agree with the consensus of the other people on the same `tasks`;
    `ahead` is the version's figure less people's. `unseen`: on labels that had no part in making the version."""

    control: str
    tasks: int
    unseen: bool
    people: AverageJson
    llm: AverageJson
    ahead: AverageJson
    words: str


class AnnotatorJson(TypedDict):
    """`annotator` is Label Studio's id of the person. `agreed` is with the consensus of the others."""

    annotator: str
    labelled: int
    agreed: ShareJson
    at_random: bool


class GapJson(TypedDict):
    """Labels that people split between; null is "not the first"."""

    control: str
    labels: tuple[str, str | None]
    tasks: list[str]


class SlipJson(TypedDict):
    task: str
    control: str
    said: list[str]
    predicted: list[str]
    score: float


class PeopleJson(TypedDict):
    """`annotators` are people known by an id; `shared` tasks were labelled by two or more, `prefilled` of them with a
    prediction in sight. `consensus` is how several labels became one."""

    annotators: int
    shared: int
    prefilled: int
    consensus: str
    agreement: list[AgreementJson]
    ceiling: list[CeilingJson]
    standings: list[AnnotatorJson]
    gaps: list[GapJson]
    slips: list[SlipJson]
    words: list[str]
