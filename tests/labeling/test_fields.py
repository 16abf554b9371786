import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labeling.errors import TaskError
from backend.labeling.fields import DataField, plain

TEXT = DataField("text", "Text", "$text")
PAGE = DataField("page", "HyperText", "$html")
TALK = DataField("talk", "Paragraphs", "$turns")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, r'no field "text", which Text "text" shows \(it has: none\)'),
        ({"title": "x", "body": "y"}, r"it has: body, title"),
        ({"text": ""}, '"text" is empty'),
        ({"text": None}, '"text" is empty'),
        ({"text": " \n\t\u2028"}, '"text" is empty'),
        ({"text": "\u200b\ufeff \u200d"}, '"text" is empty'),
        ({"text": "\x00\x01\x02"}, "binary"),
        ({"text": "\x89PNG\r\n\x1a\n\x00\x00\x00"}, "binary"),
        ({"text": "\ufffd\ufffdab"}, "binary"),
        ({"text": ["a"]}, "holds a list"),
        ({"text": {"a": 1}}, "holds a dict"),
    ],
)
def test_a_field_that_holds_no_text_is_refused_by_name(data: dict[str, Any], reason: str) -> None:
    with pytest.raises(TaskError, match=reason):
        TEXT.read(data)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("  plain \n", "plain"),
        ("مرحبا \u202eabc", "مرحبا \u202eabc"),
        ("👍🏽 ok 👩‍👩‍👧", "👍🏽 ok 👩‍👩‍👧"),
        ("日本語\r\nテキスト", "日本語\r\nテキスト"),
        (0, "0"),
        (4.5, "4.5"),
        (False, "False"),
        ("a long text with one\x00NUL in it", "a long text with oneNUL in it"),
        ("a lone \ud83d surrogate", "a lone ? surrogate"),
        ("<b>not markup</b>", "<b>not markup</b>"),
    ],
)
def test_text_comes_out_as_people_read_it(raw: Any, text: str) -> None:
    assert TEXT.read({"text": raw}).text == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("no markup", "no markup"),
        ("<p>one</p><p>two<br>three</p>", "one\ntwo\nthree"),
        ("<ul><li>a<li>b</ul>", "a\nb"),
        ("<b>bo</b>ld", "bold"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<script>alert(1)</script><style>p{}</style><!-- x -->seen", "seen"),
        ("&lt;b&gt; &amp; caf&eacute;&nbsp;&#128077;", "<b> & café 👍"),
        ("<p>open <div>never <i>closed", "open\nnever closed"),
        ("<!DOCTYPE html><html><head><title>t</title></head><body>B</body></html>", "B"),
        ("a < b and c > d", "a < b and c > d"),
        ("<<<<", "<<<<"),
        ("<p>nul\x00 and \ud800 inside</p>", "nul and ? inside"),
        ("<p>\n  much   space </p>", "much space"),
        ("<div>" * 1000 + "deep", "deep"),
    ],
)
def test_html_comes_out_as_its_text(markup: str, text: str) -> None:
    assert PAGE.read({"html": markup}).text == text


@pytest.mark.parametrize("markup", ["<script>only()</script>", "<!-- -->", "<p> </p>", "<br>"])
def test_html_without_text_is_empty(markup: str) -> None:
    with pytest.raises(TaskError, match="empty"):
        PAGE.read({"html": markup})


def test_html_that_the_parser_would_cut_off_is_refused() -> None:
    with pytest.raises(TaskError, match="nested"):
        PAGE.read({"html": "seen" + "<div>" * 3000 + "unseen"})


@given(st.text(st.sampled_from("<>/&;!-#x10abp \x00\ud800\"'="), max_size=40))
def test_no_html_breaks_the_reader(markup: str) -> None:
    assert isinstance(plain(markup), str)


@pytest.mark.parametrize(
    ("turns", "text"),
    [
        ([{"author": "A", "text": "hi"}, {"text": "yo"}], "A: hi\nyo"),
        ([{"author": "A", "text": ""}, {"author": None, "text": 5}], "5"),
        ("already text", "already text"),
    ],
)
def test_a_dialogue_is_a_line_for_each_turn(turns: Any, text: str) -> None:
    assert TALK.read({"turns": turns}).text == text


@pytest.mark.parametrize("turns", [{"text": "a"}, ["a"], [1], 7, True])
def test_a_dialogue_of_the_wrong_shape_says_what_it_needs(turns: Any) -> None:
    with pytest.raises(TaskError, match="must hold a list of paragraphs"):
        TALK.read({"turns": turns})


def test_a_dialogue_has_the_keys_that_the_configuration_names() -> None:
    field = DataField("talk", "Paragraphs", "$turns", name_key="who", text_key="said")
    assert field.read({"turns": [{"who": "A", "said": "hi", "text": "no"}]}).text == "A: hi"


NESTED = {
    "review": {"text": "deep", "n": 0},
    "items": [{"text": "first"}, {"text": "second"}],
    "title": "T",
    "no": None,
}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("$review.text", "deep"),
        ("$review.n", "0"),
        ("$items[1].text", "second"),
        ("$items.1.text", "second"),
        ("$items[1][text]", "second"),
        ("Title: $title", "Title: T"),
        ("$title / $items[0].text / $title", "T / first / T"),
        ("$title$no", "T"),
    ],
)
def test_a_path_or_a_text_with_paths_is_resolved_as_label_studio_does(value: str, text: str) -> None:
    assert DataField("text", "Text", value).read(NESTED).text == text


def test_a_key_that_is_the_very_path_comes_first() -> None:
    field = DataField("text", "Text", "$review.text")
    assert field.read({"review.text": "flat", "review": {"text": "deep"}}).text == "flat"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("$review.title", r'no field "review\.title", .* \(it has: items, no, review, title\)'),
        ("$items[2].text", r'no field "items\[2\]\.text"'),
        ("$title.text", 'no field "title.text"'),
        ("$title.", 'no field "title."'),
        ("$review", '"review" holds a dict'),
        ("Title: $absent", 'no field "absent"'),
        ("All: $items", '"items" holds a list'),
        ("Nothing: $no", '"Nothing: \\$no" is empty'),
    ],
)
def test_a_path_that_leads_to_no_text_is_refused_by_name(value: str, reason: str) -> None:
    with pytest.raises(TaskError, match=reason):
        DataField("text", "Text", value).read(NESTED)


def test_a_composed_page_is_read_as_one() -> None:
    assert DataField("page", "HyperText", "<p>$title</p><p>$review.text</p>").read(NESTED).text == "T\ndeep"


def test_random_bytes_are_no_text() -> None:
    noise = random.Random(1).randbytes(4000)
    for encoding in ("latin-1", "utf-8"):
        with pytest.raises(TaskError, match="binary"):
            TEXT.read({"text": noise.decode(encoding, errors="replace")})
