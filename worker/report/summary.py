"""The report in a few plain sentences: what a person with thirteen labels, or a thousand, should take away. Pure."""

from collections.abc import Iterator

from worker import wording
from worker.report.document import FiguresJson, Report, VersionJson
from worker.report.whole import is_telling


def words(report: Report) -> list[str]:
    """The rest of the document must be filled in."""
    judged = _judged(report, report["versions"][0]) if report["labels"] else ()
    return [_labels(report), *_drift(report), *judged, *_left(report)]


def _judged(report: Report, active: VersionJson) -> Iterator[str]:
    figures = active[active["basis"]]
    yield from _accuracy(report, active)
    yield from _whole(report)
    yield from _compared(report)
    yield _swayed(figures)
    yield report["acceptance"]["words"]
    yield figures["calibration"]["words"]
    if report["people"]["shared"]:
        yield from report["people"]["words"]
    yield "A range in brackets holds the true value in about nine of ten cases."


def _labels(report: Report) -> str:
    count = report["labels"]
    if not count:
        return f"No labels yet: {report['active']} labels tasks, and how well is not known until people annotate some."
    blind = sum(split["blind"] for split in report["splits"])
    return (
        f"{wording.counted(count, 'label')} count as ground truth, {blind} of them given without seeing a prediction. "
        f"{report['active']} is the active prompt."
    )


def _drift(report: Report) -> Iterator[str]:
    """Of the version that is active: another one begins anew."""
    alarms = [each for each in report.get("drift", []) if each["version"] == report["active"]]
    if alarms:
        raised = wording.counted(len(alarms), "drift alarm")
        yield f"{raised} since {report['active']} is the active prompt, the last on {alarms[0]['at'][:10]}: see Drift."


def _accuracy(report: Report, active: VersionJson) -> Iterator[str]:
    """On unseen labels; while those are few, what the run that chose the prompt estimated."""
    yield active["words"]
    estimate = _estimate(report)
    if active["basis"] == "all" and estimate:
        yield f"{estimate}: the fairest figure so far."
    if active["unseen"]["labels"] < wording.FEW:
        yield "Read all figures with care and annotate on: each new label makes them surer."


def _whole(report: Report) -> Iterator[str]:
    whole = report.get("whole")  # a report of an earlier release has none
    if whole and is_telling(whole):
        yield from whole["words"]


def _estimate(report: Report) -> str:
    """Of the run that made the active version; empty without one."""
    for point in reversed(report["curve"]):
        if point["challenger"] == report["active"] and point["challenger_accuracy"]:
            found = f"expected it to be right on {point['challenger_accuracy']['words']}"
            return f"The run that chose it, with {wording.counted(point['labels'], 'label')}, {found}"
    return ""


def _compared(report: Report) -> Iterator[str]:
    """With the first prompt, made from the labeling configuration alone."""
    first = min(report["versions"], key=lambda each: each["version"])
    if first["origin"] == "seed" and first["against_active"] and first["against_active"]["labels"]:
        yield first["against_active"]["words"]


def _swayed(figures: FiguresJson) -> str:
    """Whether people follow what they are shown: blind and prefilled tasks are drawn by lot, so the same prompt is
    equally right on both unless they do."""
    blind, prefilled = figures["blind"], figures["prefilled"]
    if min(blind["n"], prefilled["n"]) < wording.FEW:
        return (
            f"Blind labels: {blind['words']}. Prefilled ones: {prefilled['words']}. "
            "Too few to tell whether people follow what they are shown."
        )
    shown = (
        f"Where people saw a prediction it is right on {prefilled['words']}; where they saw none, on {blind['words']}"
    )
    if prefilled["low"] > blind["high"]:
        return f"{shown}. People seem to follow what they are shown: trust the second figure."
    return f"{shown}. That is no sign that people follow what they are shown."


def _left(report: Report) -> Iterator[str]:
    left = sum(report["left_out"].values())
    if left:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in report["left_out"].items())
        yield f"Left out: {wording.counted(left, 'annotated task')} ({reasons})."
    if report["contested"]:
        split = wording.counted(len(report["contested"]), "task")
        yield f"On {split} people split evenly: the guideline may need a word on such cases."
