from dataclasses import replace

from tests.annotating import at
from worker.labels.annotation_store import Learned
from worker.labels.examples import Example, Shown
from worker.runs.follow import count

WRONG = Example("1", {}, {"kind": ("a",)}, at(0), Shown("p1", {"kind": ("b",)}))


def test_a_label_that_differs_from_what_was_shown_is_an_error_unless_people_split_themselves() -> None:
    assert count([WRONG, WRONG], Learned(1)).errors == 1
    assert count([replace(WRONG, disputed=True)], Learned()).errors == 0
