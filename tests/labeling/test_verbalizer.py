import pytest

from backend.labeling import verbalizer


@pytest.mark.parametrize(
    ("texts", "continues", "width", "expected"),
    [
        (("negative", "positive"), False, 20, "words"),
        (("negative", "neutral", "positive"), False, 20, "words"),
        (("positive", "possible"), False, 20, "letters"),
        (("us", "usa"), False, 20, "letters"),
        (("Spam", "spam"), False, 20, "letters"),
        (("good", "bad"), False, 1, "letters"),
        (("theft", "fraud"), False, 20, "letters"),
        (("positive", "possible"), True, 5, "words"),
        (("Spam", "spam"), True, 200, "words"),
        (tuple(f"label {i}" for i in range(200)), True, 200, "words"),
        (("хорошо", "плохо"), True, 200, "letters"),
        (("good 👍", "bad"), True, 200, "letters"),
        (("très bon", "élevé"), True, 200, "words"),
    ],
)
def test_words_stand_for_labels_where_they_can_be_told_apart(
    texts: tuple[str, ...],
    continues: bool,
    width: int,
    expected: str,
) -> None:
    assert verbalizer.kind_of("auto", texts, continues=continues, width=width) == expected


@pytest.mark.parametrize("kind", ["words", "letters"])
def test_codes_are_what_they_are_told_to_be(kind: verbalizer.CodeKind) -> None:
    found = verbalizer.codes(kind, ("us", "usa"), continues=False, width=20)
    assert found == (("us", "usa") if kind == "words" else ("A", "B"))


def test_letters_leave_out_the_one_that_begins_a_refusal() -> None:
    found = verbalizer.codes("letters", [str(i) for i in range(25)], continues=False, width=20)
    assert len(set(found)) == 25
    assert "I" not in found


def test_more_labels_than_letters_are_refused() -> None:
    with pytest.raises(ValueError, match="26 labels, 25 letters"):
        verbalizer.codes("letters", [str(i) for i in range(26)], continues=False, width=20)
