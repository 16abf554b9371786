"""Charts of the pages, and what they say of a prompt in a line."""

from dataclasses import replace

import pytest
from lxml import etree

from backend.labeling.calibration import Calibration
from backend.labeling.prompt import Demonstration, Prompt
from backend.pages import charts
from backend.pages.charts import Mark
from backend.pages.routes import percent, when
from backend.prompts import prompt_text
from tests.histories import AT

SHOWN = Demonstration((), {"sentiment": ("negative",)})


def mark(x: float, y: float, *, off: float = 0.1, said: str = "said", hollow: bool = False) -> Mark:
    return Mark(x, y, y - off, y + off, said, hollow)


def places(svg: str) -> list[tuple[float, float]]:
    """Of the dots, from left to right as drawn."""
    dots = etree.fromstring(svg).iter("circle")
    return [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in dots]


def texts(svg: str) -> list[str]:
    return [found.text or "" for found in etree.fromstring(svg).iter("text")]


def test_without_a_mark_there_is_no_chart() -> None:
    assert (charts.learning_curve([]), charts.reliability([])) == ("", "")


def test_a_score_that_keeps_its_word_lies_on_the_diagonal() -> None:
    """The plot spans x 46 to 376 and y 236 down to 28: (.25, .25) is a quarter of the way along both."""
    assert places(charts.reliability([mark(0, 0), mark(0.25, 0.25), mark(1, 1)])) == [
        (46, 236),
        (128.5, 184),
        (376, 28),
    ]


def test_whiskers_reach_as_far_as_the_interval() -> None:
    """0.4 and 0.6 of 208 above the lower edge at 236: 152.8 and 111.2."""
    whisker = next(etree.fromstring(charts.reliability([mark(0.5, 0.5)])).iter("path")).attrib["d"]
    assert whisker.startswith("M211 152.8V111.2 ")


def test_more_labels_lie_further_to_the_right_and_more_right_answers_higher() -> None:
    (few, low), (many, high) = places(charts.learning_curve([mark(120, 0.9), mark(20, 0.7)]))
    assert few < many
    assert low > high


def test_marks_of_one_number_of_labels_stand_side_by_side() -> None:
    first, second, third = (x for x, _ in places(charts.learning_curve([mark(60, 0.7), mark(60, 0.8), mark(60, 0.9)])))
    assert third - second == pytest.approx(second - first) == pytest.approx(9)


@pytest.mark.parametrize(
    ("most", "ticks"),
    [
        (0, ["0", "1"]),
        (3, ["0", "1", "2", "3"]),
        (40, ["0", "10", "20", "30", "40"]),
        (210, ["0", "50", "100", "150", "200", "250"]),
        (4300, ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]),
    ],
)
def test_labels_are_counted_in_round_steps(most: int, ticks: list[str]) -> None:
    found = texts(charts.learning_curve([mark(most, 0.8)]))
    assert [text for text in found if text.replace(",", "").isdigit()] == ticks


@pytest.mark.parametrize(("lowest", "first"), [(0.93, "50%"), (0.5, "50%"), (0.37, "30%"), (0.0, "0%")])
def test_the_axis_of_shares_holds_all_and_never_begins_above_a_half(lowest: float, first: str) -> None:
    found = texts(charts.learning_curve([Mark(10, 0.95, lowest, 0.99, "")]))
    assert next(text for text in found if text.endswith("%")) == first


def test_axes_say_what_they_count_and_marks_what_they_are() -> None:
    svg = charts.learning_curve([mark(20, 0.7, said="20 labels"), mark(40, 0.8, said="40 labels", hollow=True)])
    assert {"labels", "right, with 90 % interval"} <= set(texts(svg))
    root = etree.fromstring(svg)
    assert [title.text for title in root.iter("title")] == ["20 labels", "40 labels"]
    assert [group.attrib["class"] for group in root.iter("g")] == ["mark", "mark hollow"]


def test_what_a_mark_says_cannot_become_markup() -> None:
    assert "<script>" not in charts.reliability([mark(0.5, 0.5, said="<script>")])


def test_a_chart_has_no_style_of_its_own_which_the_policy_would_refuse() -> None:
    svg = charts.learning_curve([mark(20, 0.7)]) + charts.reliability([mark(0.5, 0.5)])
    assert "style=" not in svg


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (Prompt("Say."), "the instruction alone"),
        (Prompt("Say.", demonstrations=(SHOWN,) * 8, rationale=True), "8 demonstrations; reasons before it answers"),
        (Prompt("Say.", rules=("a",), definitions={"x": "y"}), "1 rule; 1 definition"),
        (Prompt("Say.", demonstrations=(SHOWN,) * 9, shown=4),
         "each task sees the 4 most similar of 9 demonstrations"),
        (Prompt("Say.", calibration=Calibration({}, 1.2, 64)), "scores fitted on 64 labels"),
    ],
)  # fmt: skip
def test_a_line_says_what_a_prompt_is_made_of(prompt: Prompt, words: str) -> None:
    assert prompt_text.summary(prompt) == words
    assert prompt_text.summary(replace(prompt, instruction="Another.")) == words


@pytest.mark.parametrize(
    ("share", "words"), [(None, "-"), (0.0, "0 %"), (0.001, "1 %"), (0.5, "50 %"), (0.999, "99 %"), (1.0, "100 %")]
)
def test_only_all_is_100_percent(share: float | None, words: str) -> None:
    assert percent(share) == words


def test_times_are_in_utc_whatever_their_zone() -> None:
    assert when(AT) == when("2026-03-01T14:00:00+02:00") == "2026-03-01 12:00 UTC"
