"""What the report says of the people who label: how far they agree, what they split on, whom to ask again. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from worker import wording
from worker.labels.examples import Example
from worker.labels.polls import Poll
from worker.report import annotators as figures
from worker.report.annotators import Ceiling, Gap, Slip, Standing
from worker.report.figures import share
from worker.report.people_document import AgreementJson, AnnotatorJson, CeilingJson, GapJson, PeopleJson, SlipJson
from worker.report.shares import AverageJson
from worker.report.versions import Judged
from worker.statistics import agreement
from worker.statistics.agreement import Agreement
from worker.statistics.intervals import Average

# Krippendorff's own marks (Content Analysis, 2004): what may be relied on, and what supports tentative conclusions.
_RELIABLE, _TENTATIVE = 0.8, 0.667
_MOST_TOLD = 3
_CLOSE = -0.05  # behind people by so much at the most, the LLM is said to have come up to them


@dataclass(frozen=True, slots=True)
class Crowd:
    """`examples` are those of ground truth and those that people leave undecided; `unseen` are ids of the ones that had
    no part in making the active version."""

    polls: Sequence[Poll]
    examples: Sequence[Example] = field(repr=False)
    unseen: Collection[str]


def people(crowd: Crowd, active: Judged) -> PeopleJson:
    """Defined on any votes: of one person alone it says that nothing can be compared."""
    shared = figures.shared(crowd.polls)
    ceilings = [_ceiling(crowd, control, active) for control in dict.fromkeys(poll.control for poll in crowd.polls)]
    standings, gaps = figures.standings(crowd.polls), figures.gaps(crowd.polls)
    modelled = any(poll.consensus.method == "dawid-skene" for poll in crowd.polls)
    found: PeopleJson = {
        "annotators": len(standings),
        "shared": len(shared),
        "prefilled": sum(example.id in shared and example.shown is not None for example in crowd.examples),
        "consensus": "dawid-skene" if modelled else "majority",
        "agreement": [_agreement(poll) for poll in crowd.polls],
        "ceiling": ceilings if shared else [],
        "standings": [_standing(each) for each in standings],
        "gaps": [_gap(each) for each in gaps],
        "slips": [_slip(each) for each in _slips(crowd, active)],
        "words": [],
    }
    found["words"] = list(_words(found))
    return found


def _agreement(poll: Poll) -> AgreementJson:
    alpha, kappa = agreement.alpha(poll.votes), agreement.kappa(poll.votes)
    return {"question": poll.key, "tasks": alpha.items, "alpha": _beyond(alpha), "kappa": _beyond(kappa)}


def _beyond(found: Agreement) -> AverageJson:
    average = Average(found.value, found.low, found.high)
    words = found.why if found.value is None else wording.average(average, found.items)
    return {"value": found.value, "low": found.low, "high": found.high, "words": words}


def _ceiling(crowd: Crowd, control: str, active: Judged) -> CeilingJson:
    """On labels that the version has not seen, if these are enough to tell something."""
    polls = [poll for poll in crowd.polls if poll.control == control]
    known = {each.id for each in crowd.examples} & active.graded.keys()
    on_all = figures.ceiling(polls, {item: active.graded[item] for item in known})
    on_unseen = figures.ceiling(polls, {item: active.graded[item] for item in known & set(crowd.unseen)})
    unseen = on_unseen.tasks >= wording.FEW or on_unseen.tasks == on_all.tasks
    found = on_unseen if unseen else on_all
    return {
        "control": control,
        "tasks": found.tasks,
        "unseen": unseen,
        "people": _average(found.people, found.tasks),
        "llm": _average(found.llm, found.tasks),
        "ahead": _average(found.ahead, found.tasks),
        "words": " ".join(_against_people(found, control, active.version.name, unseen=unseen)),
    }


def _average(found: Average, tasks: int) -> AverageJson:
    return {"value": found.value, "low": found.low, "high": found.high, "words": wording.average(found, tasks)}


def _against_people(found: Ceiling, control: str, version: str, *, unseen: bool) -> Iterator[str]:
    people, llm, ahead = found.people.value, found.llm.value, found.ahead
    if people is None or llm is None or ahead.value is None or found.tasks < wording.FEW:
        tasks = wording.counted(found.tasks, "task")
        yield f"{control}: {tasks} with labels of several people are too few to compare the LLM with a person."
        return
    where = "" if unseen else ", which flatter it,"
    yield (
        f"{control}: on {wording.counted(found.tasks, 'task')}{where} a person says what the others do in "
        f"{wording.percent(people)} of cases, {version} in {wording.percent(llm)}."
    )
    interval = f"90 % interval {round(100 * ahead.low):d} to {round(100 * ahead.high):d} points"
    if ahead.value >= 0 and ahead.low >= _CLOSE:
        yield f"It agrees with people no less than they do ({interval}): what is left is for the guideline to say."
    elif ahead.high < 0:
        yield f"People agree {wording.points(ahead.value)} more often ({interval}): there is room for a better prompt."
    else:
        yield f"Who agrees more cannot be told from so many ({interval})."


def _standing(found: Standing) -> AnnotatorJson:
    return {
        "annotator": found.annotator,
        "labelled": found.labelled,
        "agreed": share(found.agreed, "task"),
        "at_random": found.at_random,
    }


def _gap(found: Gap) -> GapJson:
    return {"control": found.control, "labels": found.labels, "tasks": list(found.tasks)}


def _slips(crowd: Crowd, active: Judged) -> list[Slip]:
    """None from a version whose calibration rests on few labels, or whose confident scores do not keep their word."""
    fitted = active.version.prompt.calibration.fitted_on >= figures.LEAST_FITTED
    truths = [active.graded[each.id] for each in crowd.examples if each.truth and each.id in active.graded]
    if not fitted or not figures.keeps_its_word(truths):
        return []
    return figures.slips(crowd.polls, crowd.examples, active.graded)


def _slip(found: Slip) -> SlipJson:
    return {
        "task": found.task,
        "control": found.control,
        "said": list(found.said),
        "predicted": list(found.predicted),
        "score": found.score,
    }


def _words(found: PeopleJson) -> Iterator[str]:
    """Of what several people say; without shared tasks why there is nothing to say."""
    why = next((each["alpha"]["words"] for each in found["agreement"] if not found["shared"]), "")
    if why and why != agreement.NOBODY:
        yield f"{why[0].upper()}{why[1:]}."
    if found["shared"]:
        yield f"{wording.counted(found['shared'], 'task')} were labelled by several people.{_prefilled(found)}"
        yield from map(_agreed, _least(found["agreement"]))
        yield from (each["words"] for each in found["ceiling"])
        yield from _at_random(found["standings"])
        yield from _split(found["gaps"])
    if found["slips"]:
        slips = wording.counted(len(found["slips"]), "task")
        yield f"Possible slips: on {slips} that one person labelled, the LLM is confident of another label. Look again."


def _prefilled(found: PeopleJson) -> str:
    if not found["prefilled"]:
        return ""
    return f" In {found['prefilled']:,} of them a prediction was in sight, which makes people agree more."


def _least(found: Sequence[AgreementJson]) -> list[AgreementJson]:
    """Of the labels of a multiple choice those that people agree on least."""
    known = [(each["alpha"]["value"], i) for i, each in enumerate(found) if each["alpha"]["value"] is not None]
    return [found[i] for _, i in sorted(known)[:_MOST_TOLD]]


def _agreed(found: AgreementJson) -> str:
    value = found["alpha"]["value"] or 0.0
    worth = "enough to rely on" if value >= _RELIABLE else "fair" if value >= _TENTATIVE else "low"
    return (
        f"{found['question']}: beyond chance people agree by {found['alpha']['words']} (Krippendorff's alpha): {worth}."
    )


def _at_random(standings: Sequence[AnnotatorJson]) -> Iterator[str]:
    names = [each["annotator"] for each in standings if each["at_random"]]
    if names:
        one = len(names) == 1
        yield (
            f"Annotator{'' if one else 's'} {wording.listed(names)} seem{'s' if one else ''} to answer at random, or "
            "by another guideline: have a word with them."
        )


def _split(gaps: Sequence[GapJson]) -> Iterator[str]:
    if not gaps:
        return
    tasks = {task for gap in gaps for task in gap["tasks"]}
    first, second = gaps[0]["labels"]
    between = f'"{first}" and "{second}"' if second is not None else f'"{first}" or not'
    yield (
        f"On {wording.counted(len(tasks), 'task')} people split (fewer than three in four agree), most often over "
        f"{between}: they count as gaps of the guideline, not as errors. A sentence on such cases helps people and the "
        "LLM alike."
    )
