import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labeling.fields import Value
from backend.labeling.shortening import cut, most_tokens, shorten, tokens


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        # Counted with SmolLM2's own tokenizer.
        ("The parcel came a day late, but all of it works, and the support was kind.", 19),
        ("Das Paket kam einen Tag zu spät, aber alles funktioniert.", 23),
        ("Посылка пришла на день позже, но всё работает.", 34),
        ("وصل الطرد متأخرا بيوم واحد، ولكن كل شيء يعمل بشكل جيد.", 54),
        ("पार्सल एक दिन देर से आया, लेकिन सब कुछ काम करता है।", 52),
        ("พัสดุมาช้าไปหนึ่งวัน แต่ทุกอย่างใช้งานได้", 77),
        ("包裹晚到了一天，但是一切都能正常使用。", 30),
        ("荷物は一日遅れて届きましたが、すべて正常に動作しました。", 49),
        ("소포가 하루 늦게 도착했지만 모든 것이 잘 작동합니다.", 62),
        ("2024-03-17 12:45:09, 3.14159", 28),
        ('for (int i = 0; i < n; ++i) { sum += a[i] * b["key"]; }', 30),
        ("😀👍🏽🎉❤️🔥🚀", 22),
    ],
)
def test_the_estimate_is_about_right_in_every_script(text: str, taken: int) -> None:
    assert 0.7 * taken <= tokens(text) <= 1.5 * taken
    assert taken <= most_tokens(text) <= 2 * taken


def test_a_megabyte_is_cut_where_it_can_be_seen() -> None:
    text, was_cut = cut("begin " + "x" * 1_000_000 + " end", 1000)
    assert was_cut
    assert text.startswith("begin x")
    assert "\n[… cut …]\n" in text
    assert text.endswith("x end")
    assert 3400 < len(text) < 3600


@pytest.mark.parametrize(("text", "count"), [("x", 3500), ("7", 1000), ("7", 15), ("你", 500), ("я", 1000)])
def test_text_within_the_budget_is_left_as_it_is(text: str, count: int) -> None:
    whole = text * count
    assert cut(whole, tokens(whole)) == (whole, False)
    assert cut(whole + text, tokens(whole))[1]


@pytest.mark.parametrize(("text", "taken"), [("x" * 3500, 1000), ("7" * 15, 15), ("你" * 500, 1000), ("", 0)])
def test_the_estimate_is_by_character(text: str, taken: int) -> None:
    assert tokens(text) == taken


@given(st.text(max_size=300), st.integers(0, 60))
def test_a_cut_text_is_its_beginning_and_its_end(text: str, most: int) -> None:
    shortened, was_cut = cut(text, most)
    assert was_cut == (tokens(text) > most)
    if not was_cut:
        assert shortened == text
        return
    head, tail = shortened.split("\n[… cut …]\n")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert tokens(head + tail) <= most


def test_a_short_text_leaves_its_room_to_the_long_one() -> None:
    title, body = Value("title", "It is great"), Value("body", "word " * 900)
    assert shorten([title, body], 1500) == ((title, body), False)


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [
        ((7, 7000, 7000), (2, 49, 49)),  # 100 tokens, of which the first takes 2
        ((7000, 70, 7000), (40, 20, 40)),
        ((7000, 7000, 7000), (33, 33, 34)),
        ((70, 70, 70), (20, 20, 20)),
    ],
)
def test_long_texts_share_evenly_what_short_ones_leave(lengths: tuple[int, ...], kept: tuple[int, ...]) -> None:
    made, was_cut = shorten([Value(str(i), "x" * length) for i, length in enumerate(lengths)], 100)
    assert was_cut == (max(lengths) > 100)
    assert tuple(tokens(value.text.replace("\n[… cut …]\n", "")) for value in made) == kept
