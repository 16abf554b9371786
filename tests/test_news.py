"""Which labels are new since the last run."""

from datetime import timedelta

import pytest

from tests.annotating import START, at
from worker.labels.annotation_store import Learned
from worker.labels.examples import Example, Shown
from worker.runs.follow import count


def examples(*minutes: int) -> list[Example]:
    """Each decided otherwise than what was shown."""
    shown = Shown("p0001-aaaa", {"kind": ("b",)})
    return [Example(str(i), {"text": "t"}, {"kind": ("a",)}, at(minute), shown) for i, minute in enumerate(minutes)]


@pytest.mark.parametrize(
    ("minutes", "known", "new"),
    [
        ((), Learned(), 0),
        ((1, 2, 3), Learned(), 3),
        ((1, 2, 3), Learned(3, at(3)), 0),
        ((1, 2, 3, 4, 5), Learned(3, at(3)), 2),
        ((1, 3, 7), Learned(3, at(3)), 1),  # the second was edited
        ((1, 3, 7, 8), Learned(3, at(3)), 2),  # and one came
        ((1, 2), Learned(3, at(3)), 0),  # one was deleted
        ((1, 2, 9), Learned(3, at(3)), 1),  # and another came
        ((1, 2, 2, 3), Learned(3, at(3)), 1),  # one became visible late
        ((1, 2, 3, 4), Learned(3), 1),  # when they were decided was not noted
    ],
)
def test_new_is_what_was_decided_since_and_what_there_is_more_of(
    minutes: tuple[int, ...], known: Learned, new: int
) -> None:
    found = count(examples(*minutes), known)
    assert (found.labels, found.errors, found.examples) == (new, new, len(minutes))


def test_a_label_decided_in_the_same_moment_as_the_last_known_one_is_not_lost() -> None:
    known = Learned(2, START + timedelta(minutes=2))
    assert count(examples(1, 2, 2), known).labels == 1
