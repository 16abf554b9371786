import pytest

from backend.labeling import schema as schemas
from tests.labeling.building import NOW, TOPICS, choices
from tests.replaying import SCHEMA, row
from worker.labels.examples import Example
from worker.simulation import classic


def example(number: int, label: str) -> Example:
    made = row(number, label)
    return Example(str(number), {"text": made["text"]}, {"sentiment": (label,)}, NOW)


def topical(number: int, text: str, *topics: str) -> Example:
    return Example(str(number), {"text": text}, {"topics": topics}, NOW)


def test_words_that_go_with_a_label_are_learned() -> None:
    model = classic.fit(SCHEMA, [example(i, ("positive", "negative")[i % 2]) for i in range(60)])
    unseen = [example(1000 + i, ("positive", "negative")[i % 2]) for i in range(20)]
    right = [said == each.truth for said, each in zip(model.predict(unseen), unseen, strict=True)]
    assert sum(right) >= 18


def test_each_label_of_a_multiple_choice_is_decided_by_itself() -> None:
    labelled = [
        topical(i, *one)
        for i, one in enumerate(
            [("price cheap", "Price"), ("sound loud", "Sound"), ("price sound", "Price", "Sound"), ("box", *())] * 6
        )
    ]
    model = classic.fit(schemas.parse(TOPICS), labelled)
    asked = [topical(100, "a cheap price and loud sound"), topical(101, "the box")]
    assert model.predict(asked) == [{"topics": ("Price", "Sound")}, {"topics": ()}]


@pytest.mark.parametrize("labels", [["positive"], ["positive"] * 5])
def test_where_all_labels_are_the_same_that_is_the_answer(labels: list[str]) -> None:
    model = classic.fit(SCHEMA, [example(i, label) for i, label in enumerate(labels)])
    assert model.predict([example(9, "negative")]) == [{"sentiment": ("positive",)}]


def test_without_labels_nothing_is_said() -> None:
    assert classic.fit(SCHEMA, []).predict([example(1, "positive")]) == [{}]


def test_texts_without_words_get_the_commonest_label() -> None:
    faces = [Example(str(i), {"text": "🙂"}, {"sentiment": (label,)}, NOW) for i, label in enumerate("aab")]
    model = classic.fit(schemas.parse(choices("a", "b")), faces)
    assert model.predict(faces[2:]) == [{"sentiment": ("a",)}]


def test_many_labels_with_hardly_an_example_each_raise_no_warning() -> None:
    config = choices(*(f"label{i}" for i in range(30)))
    labelled = [Example(str(i), {"text": f"word{i} here"}, {"sentiment": (f"label{i}",)}, NOW) for i in range(30)]
    said = classic.fit(schemas.parse(config), labelled).predict(labelled[:1])
    assert said == [{"sentiment": ("label0",)}]
