"""What the report's document says of people, as headings, paragraphs and tables."""

from worker.report.layout import Section, Table, named_ids
from worker.report.people_document import PeopleJson

_MOST_PEOPLE = 30


def people(found: PeopleJson) -> list[Section]:
    """The words stand in the report's summary where several people labelled the same tasks, and here where not."""
    words = () if found["shared"] else tuple(found["words"])
    left = len(found["standings"]) - _MOST_PEOPLE
    more = (f"{left} more annotators are in the JSON document.",) if left > 0 and found["shared"] else ()
    return [
        Section("How far people agree", words, _agreement(found)),
        Section("People and the LLM, against the consensus of the others", (), _ceiling(found)),
        Section("Annotators", more, _standings(found)),
        Section("Gaps of the guideline: what people split on", (), _gaps(found)),
        Section("Labels to look at again: the LLM is confident of another", (), _slips(found)),
    ]


def _agreement(found: PeopleJson) -> Table:
    rows = tuple(
        (each["question"], str(each["tasks"]), each["alpha"]["words"], each["kappa"]["words"])
        for each in found["agreement"]
        if each["tasks"]
    )
    return Table(("question", "tasks", "Krippendorff's alpha", "Cohen's kappa, mean over pairs"), rows)


def _ceiling(found: PeopleJson) -> Table:
    rows = tuple(
        (each["control"], str(each["tasks"]), each["people"]["words"], each["llm"]["words"])
        for each in found["ceiling"]
        if each["tasks"]
    )
    return Table(("control", "tasks", "a person", "the LLM"), rows)


def _standings(found: PeopleJson) -> Table:
    """Of one annotator alone there is nothing to compare."""
    rows = tuple(
        (each["annotator"], str(each["labelled"]), each["agreed"]["words"], "at random?" if each["at_random"] else "")
        for each in found["standings"][:_MOST_PEOPLE]
        if found["shared"]
    )
    return Table(("annotator", "tasks", "agrees with the others on", ""), rows)


def _gaps(found: PeopleJson) -> Table:
    rows = tuple(
        (
            each["control"],
            each["labels"][0],
            f"not {each['labels'][0]}" if each["labels"][1] is None else each["labels"][1],
            str(len(each["tasks"])),
            named_ids(each["tasks"]),
        )
        for each in found["gaps"]
    )
    return Table(("control", "some say", "others say", "tasks", "their ids"), rows)


def _slips(found: PeopleJson) -> Table:
    rows = tuple(
        (
            each["task"],
            each["control"],
            ", ".join(each["said"]) or "(none)",
            ", ".join(each["predicted"]) or "(none)",
            f"{each['score']:.2f}",
        )
        for each in found["slips"]
    )
    return Table(("task", "control", "one person says", "the LLM says", "score"), rows)
