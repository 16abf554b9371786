"""A version's figures over some labels, as the report's document holds them. Pure."""

from collections.abc import Mapping, Sequence

from backend.labeling.controls import Control
from backend.labeling.schema import LabelingSchema
from worker import wording
from worker.labels.examples import Example
from worker.optimizer.outcomes import Graded
from worker.report import metrics
from worker.report.document import (
    AverageJson,
    BinJson,
    CalibrationJson,
    CellJson,
    ControlJson,
    CoverageJson,
    FiguresJson,
    LabelJson,
    RiskCoverageJson,
    ShareJson,
)
from worker.statistics import intervals, reliability, selective
from worker.statistics.intervals import Average, Share

_NOTICEABLE = 0.1
_TELLING = 5
_MOST_POINTS = 100


def figures(schema: LabelingSchema, examples: Sequence[Example], graded: Mapping[str, Graded]) -> FiguresJson:
    """Of the examples that were graded."""
    known = [example for example in examples if example.id in graded]
    return {
        "labels": len(known),
        "accuracy": share(metrics.accuracy(graded[each.id] for each in known)),
        "blind": share(metrics.accuracy(graded[each.id] for each in known if each.shown is None)),
        "prefilled": share(metrics.accuracy(graded[each.id] for each in known if each.shown is not None)),
        "controls": [_control(control, known, graded) for control in schema.controls],
        "calibration": calibration(schema, known, graded),
    }


def share(found: Share, of: str = "label") -> ShareJson:
    return {
        "right": found.count,
        "n": found.n,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "words": wording.share(found, of),
    }


def _control(control: Control, examples: Sequence[Example], graded: Mapping[str, Graded]) -> ControlJson:
    answers = metrics.answers(examples, graded, control.name)
    right = sum(answer.right for answer in answers)
    labels = metrics.by_label(answers, (label.value for label in control.labels))
    found: ControlJson = {
        "control": control.name,
        "accuracy": share(intervals.share(right, len(answers))),
        "macro_f1": _average(metrics.macro_f1(answers), len(answers)),
        "labels": [_label(each) for each in labels],
        "confusion": [_cell(cell) for cell in metrics.confusion(answers, multiple=control.multiple)],
        "failed": [answer.id for answer in answers if answer.predicted is None],
    }
    if control.ordered:
        apart = metrics.distance(answers)
        found["distance"] = {"mean": apart.mean, "within_one": share(apart.within_one)}
    return found


def _average(found: Average, n: int) -> AverageJson:
    return {"value": found.value, "low": found.low, "high": found.high, "words": wording.average(found, n)}


def _label(found: metrics.LabelFigures) -> LabelJson:
    return {
        "label": found.label,
        "precision": share(found.precision, "answer"),
        "recall": share(found.recall),
        "f1": found.f1,
    }


def _cell(cell: metrics.Cell) -> CellJson:
    return {"true": cell.true, "predicted": cell.predicted, "tasks": list(cell.ids)}


def calibration(schema: LabelingSchema, examples: Sequence[Example], graded: Mapping[str, Graded]) -> CalibrationJson:
    """A score is for all of a task's controls: only tasks with a truth for each count, and a failed answer has none."""
    names = {control.name for control in schema.controls}
    scored = [graded[each.id] for each in examples if names <= each.truth.keys() and graded[each.id].values]
    scores, right = [each.score for each in scored], [each.right for each in scored]
    found: CalibrationJson = {
        "n": len(scored),
        "ece": reliability.ece(scores, right),
        "by_chance": reliability.ece_by_chance(scores),
        "brier": reliability.brier(scores, right),
        "auroc": reliability.auroc(scores, right),
        "bins": [_bin(each) for each in reliability.bins(scores, right)],
        "risk_coverage": _risk_coverage(scores, right),
        "words": "",
    }
    found["words"] = " ".join(_calibration_words(found, sum(scores), sum(right)))
    return found


def _bin(found: reliability.Bin) -> BinJson:
    """Answers of one score are equally right, so that the right ones in a bin need not be a whole number."""
    around = intervals.share(round(found.accuracy * found.n), found.n)
    return {"n": found.n, "score": found.score, "accuracy": found.accuracy, "low": around.low, "high": around.high}


def _risk_coverage(scores: Sequence[float], right: Sequence[bool]) -> RiskCoverageJson:
    points = selective.curve(scores, right)
    n = min(len(points), _MOST_POINTS)
    shown = [points[i * (len(points) - 1) // max(n - 1, 1)] for i in range(n)]
    return {
        "aurc": selective.aurc(scores, right),
        "points": [{"threshold": p.threshold, "coverage": p.coverage, "risk": p.risk} for p in shown],
        "coverage_at": [_coverage(points, precision) for precision in selective.PRECISIONS],
    }


def _coverage(points: Sequence[selective.Point], precision: float) -> CoverageJson:
    found = selective.widest(points, precision)
    return {
        "precision": precision,
        "coverage": found.coverage if found else None,
        "threshold": found.threshold if found else None,
    }


def _calibration_words(found: CalibrationJson, expected: float, right: int) -> Sequence[str]:
    """Nothing is said of fewer labels than make one bin."""
    n, ece, by_chance = found["n"], found["ece"], found["by_chance"]
    if ece is None or by_chance is None or n < wording.FEW:
        return [f"Too few labels with a score ({n}) to tell whether scores keep their word."]
    off = f"Scores are off by {wording.points(ece)} on average"
    if ece <= by_chance:
        said = f"{off}; chance alone gives up to {wording.points(by_chance)} with {n} labels: they may well be exact."
    else:
        said = (
            f"{off}, more than chance would with {n} labels ({wording.points(by_chance)}): {_leaning(expected, right)}."
        )
    return [said, _separation(found["auroc"], n, mistakes=n - right)]


def _leaning(expected: float, right: int) -> str:
    """A tenth more or less than was right counts as leaning."""
    if abs(expected - right) < _NOTICEABLE * max(right, 1):
        return "too high in places, too low in others"
    return "they promise too much" if expected > right else "they promise too little"


def _separation(auroc: float | None, n: int, *, mistakes: int) -> str:
    """Five of either kind are asked for."""
    if auroc is None or min(mistakes, n - mistakes) < _TELLING:
        among = f"{wording.counted(mistakes, 'mistake')} among {wording.counted(n, 'answer')}"
        return f"With {among} it cannot be told whether a low score warns of a mistake."
    return f"A right answer has a higher score than a wrong one in {wording.percent(auroc)} of pairs (50 % is chance)."
