"""What the report's document says of the whole project, as a heading, paragraphs and a table."""

from worker import wording
from worker.report.layout import Section, Table, counted_share
from worker.report.whole_document import PrefillJson, WeightedJson, WholeJson

_TITLE = "For the whole project"


def whole_project(whole: WholeJson | None, prefill: PrefillJson | None) -> Section:
    """Plain and weighted side by side; then what prefill does."""
    if whole is None or prefill is None:
        return Section(_TITLE)
    versions = [
        (each["version"], counted_share(each["plain"]), _weighted(each["accuracy"])) for each in whole["versions"]
    ]
    labels = [
        (f"{kind} of {each['label']}", "", _weighted(figure))
        for control in whole["controls"]
        for each in control["labels"]
        for kind, figure in (("precision", each["precision"]), ("recall", each["recall"]))
    ]
    rows = (*versions, *labels) if whole["labels"] else ()
    table = Table(("right", "on the labels", "on all tasks"), rows)
    return Section(_TITLE, (*whole["words"], prefill["words"]), table)


def _weighted(found: WeightedJson) -> str:
    """ "86 % (70 to 94 %), worth 66 labels"."""
    if found["value"] is None:
        return "-"
    worth = wording.counted(round(found["effective"]), "label")
    return f"{wording.percent(found['value'])} ({wording.between(found['low'], found['high'])}), worth {worth}"
