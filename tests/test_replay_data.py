import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from backend.labeling import schema as schemas
from tests.labeling.building import SENTIMENT, TEXT, TOPICS, choices
from tests.replaying import rows, write
from worker.simulation import replay_data
from worker.simulation.replay_data import ReplayDataError

EXPORTS = Path(__file__).parent / "data" / "label_studio"
GOOD = {"id": "1", "text": "fine", "label": "positive"}
TWO = (
    '<View><Text name="title" value="$title"/><Text name="body" value="$body"/>'
    '<Choices name="sentiment" toName="body"><Choice value="positive"/><Choice value="negative"/></Choices>'
    '<Choices name="topics" toName="body" choice="multiple"><Choice value="Price"/><Choice value="Sound"/></Choices>'
    "</View>"
)


def read(path: Path, *items: Any, config: str = SENTIMENT) -> replay_data.ReplayData:
    return replay_data.read(write(path / "data.jsonl", items), schemas.parse(config))


def test_a_row_becomes_an_example_of_its_text_and_label_alone(tmp_path: Path) -> None:
    (example,) = read(tmp_path, {**GOOD, "meta": {"stars": 5}, "annotations": []}).rows
    assert (example.id, example.data, example.truth) == ("1", {"text": "fine"}, {"sentiment": ("positive",)})


def test_rows_keep_their_order_and_those_of_the_test_split_stay_apart(tmp_path: Path) -> None:
    data = read(tmp_path, *rows(4, test=2))
    assert [example.id for example in data.rows] == ["train-0", "train-1", "train-2", "train-3"]
    assert [example.id for example in data.test] == ["test-1000", "test-1001"]
    assert data.rows[0].annotated_at < data.rows[1].annotated_at


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: not JSON \(.* at column 2\): one object a line"),
        ("[1]", r"line 2: a list, not an object"),
        ({"text": "x", "label": "positive"}, r'line 2: the field "id" must be a text or a number'),
        ({**GOOD, "id": True}, r'line 2: the field "id" must be a text or a number'),
        (GOOD, r"line 2: the field \"id\" is '1', as on line 1"),
        ({"id": 2, "label": "positive"}, r'line 2: the task has no field "text", which Text "text" shows'),
        ({"id": 2, "text": " ", "label": "positive"}, r'line 2: the field "text" is empty'),
        ({"id": 2, "text": "x"}, r'line 2: the field "label" is missing'),
        ({"id": 2, "text": "x", "label": 3}, r'line 2: the field "label" holds 3: it must be a text'),
        ({"id": 2, "text": "x", "label": None}, r'line 2: the field "label" holds None'),
        ({"id": 2, "text": "x", "label": ["positive", "negative"]}, r'"label" holds 2 labels, sentiment takes one'),
        ({"id": 2, "text": "x", "labels": []}, r'line 2: the field "labels" holds 0 labels, sentiment takes one'),
        ({"id": 2, "text": "x", "label": {"topic": "a"}}, r"answers 'topic', which is no control"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_line_field_and_way_out(tmp_path: Path, line: Any, message: str) -> None:
    with pytest.raises(ReplayDataError) as raised:
        read(tmp_path, GOOD, line)
    assert re.search(message, str(raised.value))
    assert '"label"' in raised.value.hint
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("row", [{"text": "glad"}, {"review": {"body": "glad"}}, {"data": {"review.body": "glad"}}])
def test_a_field_that_is_a_path_may_stand_there_or_under_text(tmp_path: Path, row: dict[str, Any]) -> None:
    config = SENTIMENT.replace("$text", "$review.body")
    (read_row,) = read(tmp_path, {"id": "1", "label": "positive", **row}, config=config).rows
    assert [value.text for value in schemas.parse(config).values(read_row.data)] == ["glad"]


def test_a_rating_may_be_a_number_and_a_place_in_a_tree_is_its_path(tmp_path: Path) -> None:
    stars = f'<View>{TEXT}<Rating name="stars" toName="text"/></View>'
    tree = '<Taxonomy name="kind" toName="text"><Choice value="Animal"><Choice value="Dog"/></Choice></Taxonomy>'
    rated = read(tmp_path, {**GOOD, "label": 3}, {**GOOD, "id": "2", "label": "4"}, config=stars)
    (placed,) = read(tmp_path, {**GOOD, "label": ["Animal / Dog"]}, config=f"<View>{TEXT}{tree}</View>").rows
    assert [row.truth["stars"] for row in rated.rows] == [("3",), ("4",)]
    assert placed.truth == {"kind": ("Animal / Dog",)}


def test_all_bad_rows_are_told_at_once_up_to_ten(tmp_path: Path) -> None:
    with pytest.raises(ReplayDataError) as raised:
        read(tmp_path, *["{"] * 13)
    assert str(raised.value).count("not JSON") == 10
    assert str(raised.value).endswith("and 3 more rows")


def test_what_is_no_utf8_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes('{"id": "1", "text": "caf\xe9", "label": "positive"}'.encode("latin-1"))
    with pytest.raises(ReplayDataError, match="line 1: not UTF-8"):
        replay_data.read(path, schemas.parse(SENTIMENT))


def test_blank_lines_a_byte_order_mark_and_windows_line_ends_are_harmless(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1, "text": "a", "label": "positive"}\r\n\r\n')
    assert [example.id for example in replay_data.read(path, schemas.parse(SENTIMENT)).rows] == ["1"]


def test_rows_of_labels_that_the_configuration_lacks_are_left_out_and_counted(tmp_path: Path) -> None:
    data = read(tmp_path, GOOD, {"id": 2, "text": "x", "label": "mixed"}, {"id": 3, "text": "y", "label": "mixed"})
    assert [example.id for example in data.rows] == ["1"]
    assert data.unknown == {"mixed": 2}


def test_where_no_label_fits_both_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(ReplayDataError, match=r"positive, negative, neutral\), but: Positive \(1 rows\)"):
        read(tmp_path, {**GOOD, "label": "Positive"})


def test_a_choice_is_known_by_its_text_and_by_its_alias(tmp_path: Path) -> None:
    config = choices('<Choice value="Good" alias="pos"/>', '<Choice value="Bad" alias="neg"/>')
    data = read(tmp_path, {**GOOD, "label": "Good"}, {**GOOD, "id": "2", "label": "neg"}, config=config)
    assert [example.truth["sentiment"] for example in data.rows] == [("pos",), ("neg",)]


def test_of_a_multiple_choice_any_number_of_labels_may_be_given(tmp_path: Path) -> None:
    given: list[Any] = ["Price", ["Price", "Sound"], []]
    data = read(tmp_path, *({"id": i, "text": "x", "labels": one} for i, one in enumerate(given)), config=TOPICS)
    assert [example.truth["topics"] for example in data.rows] == [("Price",), ("Price", "Sound"), ()]


def test_several_fields_and_controls_are_read_by_their_names(tmp_path: Path) -> None:
    label = {"sentiment": "negative", "topics": ["Sound"]}
    (example,) = read(tmp_path, {"id": 1, "title": "t", "body": "b", "label": label}, config=TWO).rows
    assert example.data == {"title": "t", "body": "b"}
    assert example.truth == {"sentiment": ("negative",), "topics": ("Sound",)}


def test_one_label_for_several_controls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayDataError, match="an object with a label for each of sentiment, topics"):
        read(tmp_path, {"id": 1, "title": "t", "body": "b", "label": "negative"}, config=TWO)


def test_a_configurations_only_field_may_stand_under_text(tmp_path: Path) -> None:
    config = choices("positive", "negative", objects='<Text name="text" value="$review"/>')
    assert read(tmp_path, GOOD, config=config).rows[0].data == {"review": "fine"}


def test_about_a_third_is_kept_for_the_test_always_the_same(tmp_path: Path) -> None:
    data = read(tmp_path, *rows(300)).rows
    replayed, test = replay_data.part_for_test(data)
    assert 70 < len(test) < 130
    assert sorted(e.id for e in (*replayed, *test)) == sorted(e.id for e in data)
    assert replay_data.part_for_test(data[::-1])[1] == test[::-1]


def test_a_text_that_is_tested_on_is_not_replayed_even_under_another_id(tmp_path: Path) -> None:
    data = read(tmp_path, *rows(4), {**rows(4)[1], "id": "copy", "split": "test"})
    kept = replay_data.apart(data.rows, data.test, schemas.parse(SENTIMENT))
    assert [example.id for example in kept] == ["train-0", "train-2", "train-3"]


def test_the_digest_is_that_of_the_files_one_after_the_other(tmp_path: Path) -> None:
    first, second = read(tmp_path, *rows(2)), read(tmp_path, *rows(3))
    joined = first.content + second.content
    assert replay_data.sha256(first, second) == hashlib.sha256(joined).hexdigest()


def stored(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def exported(name: str) -> list[dict[str, Any]]:
    """As the real Label Studio wrote it."""
    found: list[dict[str, Any]] = json.loads((EXPORTS / f"{name}.json").read_text())["response"]["body"]
    return found


def test_an_export_counts_what_counts_as_ground_truth_in_label_studio_itself(tmp_path: Path) -> None:
    path = stored(tmp_path / "export.json", json.dumps(exported("api_export_json")))
    data = replay_data.read(path, schemas.parse(SENTIMENT))
    assert {row.id: row.truth for row in data.rows} == {
        "1": {"sentiment": ("neutral",)},
        "5": {"sentiment": ("neutral",)},
    }
    assert data.left_out == {"a prediction accepted in bulk, unseen": 2, "skipped": 1}


def test_an_exported_table_has_its_answers_under_the_controls_names(tmp_path: Path) -> None:
    listed = stored(tmp_path / "min.json", json.dumps(exported("api_export_json_min")))
    data = replay_data.read(listed, schemas.parse(SENTIMENT))
    assert [row.truth["sentiment"] for row in data.rows] == [("neutral",), ("positive",), ("negative",), ("neutral",)]


def test_a_task_that_several_people_annotated_is_no_row_of_a_table(tmp_path: Path) -> None:
    row = {"id": 5, "text": "x", "sentiment": "neutral", "annotation_id": 6}
    path = stored(tmp_path / "min.json", json.dumps([row, row]))
    with pytest.raises(ReplayDataError, match="task 5 was annotated twice, here and on row 1: export as JSON"):
        replay_data.read(path, schemas.parse(SENTIMENT))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_has_a_header_quotes_and_any_usual_delimiter(tmp_path: Path, delimiter: str) -> None:
    lines = [["text", "label"], ['"a, b; c\n\td"', "Price"], ["y", '"[""Price"", ""Sound""]"'], ["z", ""]]
    text = "\r\n".join(delimiter.join(cells) for cells in lines)
    data = replay_data.read(stored(tmp_path / "data.csv", f"\ufeff{text}"), schemas.parse(TOPICS))
    assert [row.id for row in data.rows] == ["1", "2", "3"]
    assert data.rows[0].data == {"text": "a, b; c\n\td"}
    assert [row.truth["topics"] for row in data.rows] == [("Price",), ("Price", "Sound"), ()]


def test_several_labels_in_a_table_may_be_as_label_studio_writes_them(tmp_path: Path) -> None:
    text = 'id,text,topics\n7,x,"{""choices"": [""Price"", ""Sound""]}"\n'
    (row,) = replay_data.read(stored(tmp_path / "data.csv", text), schemas.parse(TOPICS)).rows
    assert (row.id, row.truth) == ("7", {"topics": ("Price", "Sound")})


def test_spaces_in_a_header_and_empty_rows_at_the_end_are_harmless(tmp_path: Path) -> None:
    path = stored(tmp_path / "d.csv", "text, label\na,positive\n,\n , \n")
    (row,) = replay_data.read(path, schemas.parse(SENTIMENT)).rows
    assert row.truth == {"sentiment": ("positive",)}


def test_a_row_of_a_table_without_a_label_is_left_out(tmp_path: Path) -> None:
    data = replay_data.read(stored(tmp_path / "d.csv", "text,label\na,positive\nb,\n"), schemas.parse(SENTIMENT))
    assert [row.data["text"] for row in data.rows] == ["a"]
    assert data.unknown == {"": 1}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("d.csv", 'text,label\n"a,positive\n', r"line \d: not CSV"),
        ("d.csv", "text,label\na,b,positive\n", "line 2: more cells than the header has"),
        ("d.csv", "text,label\na\n", 'line 2: the field "label" is missing'),
        ("d.json", "[1, 2", "not JSON .* at line 1"),
        ("d.json", "[" * 100_000, "nested too deeply"),
        ("d.json", "[1]", "row 1: a int, not an object"),
        ("d.json", "[]", "has no labelled row"),
        ("d.json", '[{"id": 1, "data": {"text": "x"}, "annotations": [{}]}]', "task 1 is not as Label Studio exports"),
        ("d.json", '[{"id": 1, "data": {"text": "x"}, "annotations": []}]', "has no labelled row"),
    ],
)
def test_what_is_wrong_with_a_table_or_a_list_is_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ReplayDataError, match=message):
        replay_data.read(stored(tmp_path / name, text), schemas.parse(SENTIMENT))


def test_an_export_in_which_nothing_counts_says_why(tmp_path: Path) -> None:
    skipped = [task for task in exported("api_export_json") if task["id"] == 2]
    with pytest.raises(ReplayDataError, match=r"no task of .* can be used \(1 tasks: skipped\)"):
        replay_data.read(stored(tmp_path / "e.json", json.dumps(skipped)), schemas.parse(SENTIMENT))
