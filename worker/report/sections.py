"""The report as headings, paragraphs and tables of plain text, which a terminal, Markdown and a page each lay out."""

from collections.abc import Iterator, Sequence

from backend.storage.report_layout import BASIS
from worker import wording
from worker.report.document import ControlJson, FiguresJson, Report, VersionJson
from worker.report.layout import MOST_IDS, counted_share, named_ids
from worker.report.layout import Section as Section
from worker.report.layout import Table as Table
from worker.report.people_sections import people
from worker.report.whole_sections import whole_project

_MOST_CELLS = 30
_MOST_ALARMS = 5
_NOTHING = "(none)"
_RIGHT, _PROMISED, _WIDTH = "=", "+", 20
_ENOUGH = 30  # labels from which on a calibration is more than its prior


def sections(report: Report) -> list[Section]:
    """Without a title for the whole; sections with nothing to say are left out."""
    active = report["versions"][0]
    figures, basis = active[active["basis"]], _basis(active)
    found = [
        Section("In short", tuple(report["words"])),
        _verdict(report),
        _drift(report),
        _versions(report["versions"]),
        whole_project(report.get("whole"), report.get("prefill")),
        *(section for control in figures["controls"] for section in _control(control, basis)),
        _curve(report),
        _calibration(figures, basis, active["calibrated_on"]),
        _risk_coverage(figures, basis),
        _acceptable(report),
        _acceptance(report),
        _splits(report),
        *people(report["people"]),
        _spend(report),
        _activations(report),
    ]
    return [section for section in found if section.paragraphs or (section.table and section.table.rows)]


def _basis(version: VersionJson) -> str:
    return f"{version['version']} on {BASIS[version['basis']]}"


def _verdict(report: Report) -> Section:
    run = report["last_run"]
    if run is None:
        return Section("The last run")
    stopped = () if run["words"] else (f"The run is {run['state']}.",)
    both = (("Tasks it mends", run["fixes"]), ("Tasks it spoils", run["breaks"]))
    tasks = [f"{title}: {named_ids(ids)}." for title, ids in both if ids]
    return Section(f"The last run, {_day(run['started_at'])}", (*run["words"], *stopped, *tasks))


def _drift(report: Report) -> Section:
    """Nothing in reports from before there were alarms."""
    alarms = report.get("drift", [])
    shown = [f"{_day(each['at'])}, {each['version']}: {each['words']}" for each in alarms[:_MOST_ALARMS]]
    left = len(alarms) - len(shown)
    more = [f"{left} earlier ones are in the JSON document."] if left else []
    return Section("Drift", (*shown, *more))


def _versions(versions: Sequence[VersionJson]) -> Section:
    rows = tuple(
        (
            f"{each['version']} (active)" if each["active"] else each["version"],
            each["origin"],
            counted_share(each["unseen"]["accuracy"]),
            counted_share(each["all"]["accuracy"]),
            "; ".join(_macro_f1(control) for control in each[each["basis"]]["controls"]),
        )
        for each in versions
    )
    return Section("Prompt versions", (), Table(("version", "from", "unseen labels", "all labels", "macro F1"), rows))


def _macro_f1(control: ControlJson) -> str:
    value = control["macro_f1"]["value"]
    return "-" if value is None else f"{value:.2f} ({control['macro_f1']['low']:.2f}-{control['macro_f1']['high']:.2f})"


def _control(control: ControlJson, basis: str) -> Iterator[Section]:
    if not control["accuracy"]["n"]:
        return
    name = control["control"]
    rows = tuple(
        (
            each["label"],
            str(each["recall"]["n"]),
            counted_share(each["precision"]),
            counted_share(each["recall"]),
            "-" if each["f1"] is None else f"{each['f1']:.2f}",
        )
        for each in control["labels"]
    )
    words = f"{basis}: right on {control['accuracy']['words']}; macro F1 {control['macro_f1']['words']}."
    yield Section(
        f"Precision and recall of {name}",
        (words, *_distance(control)),
        Table(("label", "true", "precision", "recall", "F1"), rows),
    )
    yield _confusion(control)


def _distance(control: ControlJson) -> Iterator[str]:
    found = control.get("distance")
    if found and found["mean"] is not None:
        yield f"Ratings are {found['mean']:.2f} apart on average; at most 1 apart on {found['within_one']['words']}."


def _confusion(control: ControlJson) -> Section:
    """Mistakes first."""
    cells = sorted(control["confusion"], key=lambda cell: cell["true"] == cell["predicted"])
    rows = tuple(
        (_named(cell["true"]), _named(cell["predicted"]), str(len(cell["tasks"])), named_ids(cell["tasks"]))
        for cell in cells[:_MOST_CELLS]
    )
    failed = [f"No usable answer: {named_ids(control['failed'])}."] if control["failed"] else []
    left = [f"{len(cells) - _MOST_CELLS} rarer pairs are in the JSON document."] if len(cells) > _MOST_CELLS else []
    columns = ("people say", "predicted", "tasks", "their ids")
    return Section(f"Confusion of {control['control']}", (*failed, *left), Table(columns, rows))


def _named(label: str | None) -> str:
    return _NOTHING if label is None else label


_OUTCOMES = {None: "now", "no_headroom": "nothing was better"}
_MEASURED = {
    "cross-fitted": "each left out in turn",
    "holdout": "set aside",
    "prequential": "later ones",
    "unseen": "not seen",
}


def _curve(report: Report) -> Section:
    rows = tuple(
        (
            str(point["labels"]),
            _day(point["at"]),
            point["version"],
            counted_share(point["accuracy"]),
            _OUTCOMES.get(point["decision"], (point["decision"] or "").replace("_", " ")),
            _MEASURED[point["kind"]],
        )
        for point in report["curve"]
    )
    columns = ("labels", "day", "version", "right", "decision", "measured on labels")
    return Section("By number of labels", (), Table(columns, rows))


def _calibration(figures: FiguresJson, basis: str, calibrated_on: int) -> Section:
    found = figures["calibration"]
    rows = tuple(
        (str(each["n"]), f"{each['score']:.2f}", f"{each['accuracy']:.2f}", _bar(each["score"], each["accuracy"]))
        for each in found["bins"]
    )
    numbers = ", ".join(
        f"{name} {value:.3f}"
        for name, value in (
            ("calibration error", found["ece"]),
            ("Brier score", found["brier"]),
            ("AUROC", found["auroc"]),
        )
        if value is not None
    )
    words = (f"{basis}: {numbers}.",) if numbers else ()
    paragraphs = (_calibrated(calibrated_on), found["words"], *words)
    columns = ("labels", "score", "right", f"0 to 1: right {_RIGHT}, promised {_PROMISED}")
    return Section("Calibration: do scores keep their word", paragraphs, Table(columns, rows))


def _calibrated(labels: int) -> str:
    if not labels:
        return "The active prompt's scores are uncalibrated: the LLM's own."
    few = ", so few that they stay near what is usual" if labels < _ENOUGH else ""
    return f"The active prompt's scores are calibrated on {wording.counted(labels, 'label')}{few}."


def _bar(score: float, accuracy: float) -> str:
    """A row of the reliability diagram: as long as the share that was right, with a mark where the score stands."""
    bar = list((_RIGHT * round(accuracy * _WIDTH)).ljust(_WIDTH + 1, "."))
    bar[round(score * _WIDTH)] = _PROMISED
    return "".join(bar)


def _risk_coverage(figures: FiguresJson, basis: str) -> Section:
    found = figures["calibration"]["risk_coverage"]
    rows = tuple(
        (wording.percent(each["precision"]), wording.percent(each["coverage"] or 0.0), _from(each["threshold"]))
        for each in found["coverage_at"]
    )
    area = () if found["aurc"] is None else (f"{basis}: area under the risk-coverage curve {found['aurc']:.3f}.",)
    columns = ("right", "of the answers", "from a score of")
    return Section("Risk and coverage: how many answers are how right", area, Table(columns, rows if area else ()))


def _from(threshold: float | None) -> str:
    return "-" if threshold is None else f"{threshold:.3f}"


def _acceptable(report: Report) -> Section:
    found = report["acceptable"]
    certificates = tuple(each["words"] for each in found["certificates"])
    return Section("What may be accepted unseen", (*found["words"], *certificates) if report["labels"] else ())


def _acceptance(report: Report) -> Section:
    rows = tuple((version, counted_share(kept)) for version, kept in report["acceptance"]["by_version"].items())
    return Section("Acceptance: predictions that people kept", (), Table(("shown by", "kept"), rows))


def _splits(report: Report) -> Section:
    rows = tuple(
        (each["split"], str(each["labels"]), str(each["blind"]), str(each["prefilled"]), str(each["divided"]))
        for each in report["splits"]
    )
    contested = (f"People split evenly on: {named_ids(report['contested'])}.",) if report["contested"] else ()
    columns = ("split", "labels", "blind", "prefilled", "decided by majority")
    return Section("Where the labels are", contested, Table(columns, rows if report["labels"] else ()))


def _spend(report: Report) -> Section:
    return Section("What it cost", (report["spend"]["words"],))


def _activations(report: Report) -> Section:
    rows = tuple((each["at"][:19].replace("T", " "), each["version"], each["by"]) for each in report["activations"])
    return Section("Who made which prompt active", (), Table(("when (UTC)", "version", "by"), rows[:MOST_IDS]))


def _day(at: str) -> str:
    return at[:10]
