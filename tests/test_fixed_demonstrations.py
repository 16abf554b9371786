"""Demonstrations that people fixed by hand: a file of labelled tasks that the first prompt shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend import settings
from backend.labeling import schema as schemas
from backend.labeling.errors import SettingsError
from backend.labeling.prompt import Demonstration
from backend.prompts import fixed_demonstrations
from backend.prompts.fixed_demonstrations import FixedDemonstrations
from backend.service import Service
from backend.settings import Settings
from tests.labeling.building import SENTIMENT, TOPICS
from tests.optimizer.world import BOTH
from tests.replaying import SCHEMA, write

ROW = {"text": "I love it", "label": "positive"}


def read(path: Path, *rows: Mapping[str, Any] | str) -> tuple[Demonstration, ...]:
    return fixed_demonstrations.read(write(path / "shown.jsonl", rows), SCHEMA)


def test_rows_become_demonstrations_in_the_file_s_order(tmp_path: Path) -> None:
    rows = [ROW, "", {"data": {"text": "It broke."}, "label": ["negative"], "reason": "It does\nnot work."}]
    found = read(tmp_path, *rows)
    assert [(one.values[0].text, one.labels, one.reason) for one in found] == [
        ("I love it", {"sentiment": ("positive",)}, ""),
        ("It broke.", {"sentiment": ("negative",)}, "It does not work."),
    ]


def test_several_controls_and_several_labels_are_given_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": "x", "label": {"tone": "glad", "kind": "ask"}}])
    assert fixed_demonstrations.read(path, BOTH)[0].labels == {"tone": ("glad",), "kind": ("ask",)}
    path = write(tmp_path / "b.jsonl", [{"text": "x", "labels": ["Price", "Sound"]}])
    assert fixed_demonstrations.read(path, schemas.parse(TOPICS))[0].labels == {"topics": ("Price", "Sound")}


def test_a_long_text_is_shortened_as_those_of_other_demonstrations_are(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {**ROW, "text": "love " * 900})
    assert len(found.values[0].text) < 450


def test_no_file_is_no_demonstration() -> None:
    assert fixed_demonstrations.read(None, SCHEMA) == ()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: a list, not an object"),
        ({"text": "x"}, 'line 2: the field "label" is missing'),
        ({"label": "positive"}, 'line 2: the task has no field "text"'),
        ({"text": " ", "label": "positive"}, 'line 2: the field "text" is empty'),
        ({"text": "x", "label": "angry"}, "line 2: the labeling configuration has no label 'angry'"),
        ({"text": "x", "label": ["positive", "negative"]}, 'line 2: the field "label" holds 2 labels'),
        ({"text": "x", "label": {"colour": "red"}}, "line 2: the field \"label\" answers 'colour'"),
        ({**ROW, "reason": 3}, 'line 2: the field "reason" must be a text'),
    ],
)
def test_a_row_that_cannot_be_shown_is_told_by_its_line(tmp_path: Path, row: Any, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, ROW, row, ROW)
    first, second = str(caught.value).splitlines()
    assert first.startswith("DEMONSTRATIONS: ")
    assert second.startswith(told)
    assert '{"text"' in caught.value.hint


def test_of_many_mistakes_ten_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, *["{"] * 30)
    assert str(caught.value).splitlines()[-1] == "and 20 more"


def test_a_file_that_is_not_there_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMONSTRATIONS", "/nowhere/shown.jsonl")
    with pytest.raises(SettingsError, match="DEMONSTRATIONS: Path does not point to a file"):
        settings.load()


def test_the_first_prompt_shows_them_and_another_file_makes_another_first_prompt(
    tmp_path: Path, redis_url: str
) -> None:
    path = write(tmp_path / "shown.jsonl", [ROW])
    service = Service(Settings(redis_url=redis_url, demonstrations=path))
    first = service.current("1", SENTIMENT).version
    assert [one.values[0].text for one in first.prompt.demonstrations] == ["I love it"]
    assert service.current("1", SENTIMENT).version.name == first.name
    write(path, [ROW, {"text": "I hate it", "label": "negative"}])
    second = service.current("1", SENTIMENT).version
    assert (len(second.prompt.demonstrations), second.name[:5]) == (2, "p0002")


def test_a_project_that_rows_do_not_fit_is_labelled_without_them(tmp_path: Path, redis_url: str) -> None:
    path = write(tmp_path / "shown.jsonl", [ROW, {"text": "Too loud.", "label": "Sound"}, "{"])
    service = Service(Settings(redis_url=redis_url, demonstrations=path))
    with capture_logs() as lines:
        shown = [service.current(key, SENTIMENT).version.prompt.demonstrations for key in ("1", "1", "2")]
        other = service.current("3", TOPICS).version.prompt.demonstrations
    assert [len(each) for each in (*shown, other)] == [1, 1, 1, 1]
    told = [line["rows"] for line in lines if line["log_level"] == "warning"]
    assert told == [["line 2", "line 3"], ["line 1", "line 3"]]


def test_the_file_is_read_when_it_has_changed_and_outlives_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "shown.jsonl", [ROW])
    fixed = FixedDemonstrations(path)
    first = fixed.of(SCHEMA)
    assert fixed.of(SCHEMA) is first
    write(path, [ROW, {"text": "I hate it", "label": "negative"}])
    assert len(fixed.of(SCHEMA)) == 2
    path.unlink()
    assert len(fixed.of(SCHEMA)) == 2


def test_a_file_that_was_never_there_is_an_error() -> None:
    with pytest.raises(SettingsError, match="DEMONSTRATIONS: /nowhere cannot be read"):
        FixedDemonstrations(Path("/nowhere")).of(SCHEMA)
