from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labeling import schema as schemas
from backend.labeling.answers import Question
from backend.labeling.engines.openai import OpenAIEngine
from backend.labeling.errors import EmbeddingRefusedError
from backend.labeling.labeler import Labeler
from backend.labeling.prompt import Prompt, render
from backend.labeling.selection import for_task, most_shown, rule, selects, shortened
from tests.labeling.building import says, version
from tests.labeling.vectors import Angles, selecting, shown, texts, values
from tests.scripted_llm import ScriptedLLM

RING = selecting(*(shown(f"{i * 40} degrees", ("red", "blue")[i % 2]) for i in range(9)))


def seen(prompt: Prompt, task: str) -> list[str]:
    return texts(for_task(prompt, values(task), Angles()))


def test_a_task_sees_the_most_similar_and_the_most_similar_last() -> None:
    assert seen(replace(RING, shown=3), "58 here") == ["0 degrees", "80 degrees", "40 degrees"]


def test_of_equals_the_first_is_the_more_similar() -> None:
    prompt = selecting(shown("70 a"), shown("10 b"), shown("200 c"), shown("70 d"), shown=2)
    assert seen(prompt, "40 here") == ["10 b", "70 a"]


def test_what_is_chosen_is_rendered_as_a_fixed_set_is() -> None:
    found = for_task(replace(RING, shown=2), values("58 here"), Angles())
    question = Question("colour", ())
    fixed = replace(RING, demonstrations=(RING.demonstrations[2], RING.demonstrations[1]))
    assert found == fixed
    assert render(found, question, values("45 here"), ()) == render(fixed, question, values("45 here"), ())


@pytest.mark.parametrize("copy", ["45 here", "45  HERE\n", "４５ here", "46 about"])
@pytest.mark.parametrize("how", [{"shown": 3}, {"packs": ((0, 1), (0, 2))}])
def test_neither_the_task_itself_nor_a_near_copy_is_shown(copy: str, how: dict[str, object]) -> None:
    """46 degrees are .9998 from 45; 60 are .966."""
    prompt = selecting(shown(copy), shown("60 b", "blue"), shown("80 c"), **how)
    assert copy not in seen(prompt, "45 here")
    assert "60 b" in seen(prompt, "45 here")


@pytest.mark.parametrize("copy", ["45 here", "45  HERE\n", "４５ here"])
def test_nor_is_one_in_the_same_words_where_all_is_shown_to_all(copy: str) -> None:
    prompt = replace(RING, demonstrations=(shown(copy), shown("46 about", "blue")), shown=0)
    assert texts(for_task(prompt, values("45 here"), None)) == ["46 about"]


def test_a_long_task_is_recognised_by_what_demonstrations_show_of_it() -> None:
    long = values("45 " + "word " * 900)
    own = replace(shown(""), values=shortened(long))
    prompt = selecting(own, shown("80 b"), shown=2)
    assert texts(for_task(prompt, long, Angles())) == ["80 b"]


def test_a_second_label_comes_in_where_it_is_about_as_near() -> None:
    """From 0: the third red at 40 is .234 away, the blue at 45 is .293 < 1.5 * .234."""
    prompt = selecting(shown("20 a"), shown("30 b"), shown("40 c"), shown("45 d", "blue"), shown=3)
    assert seen(prompt, "0 here") == ["45 d", "30 b", "20 a"]


def test_one_label_alone_is_shown_where_all_others_are_far() -> None:
    """The blue at 55 is .426 away, more than 1.5 * .234."""
    prompt = selecting(shown("20 a"), shown("30 b"), shown("40 c"), shown("55 d", "blue"), shown=3)
    assert seen(prompt, "0 here") == ["40 c", "30 b", "20 a"]


def test_the_single_most_similar_one_is_the_most_similar_one() -> None:
    prompt = selecting(shown("20 a"), shown("21 b", "blue"), shown=1)
    assert seen(prompt, "0 here") == ["20 a"]


def test_a_task_sees_the_pack_with_the_nearest_centroid_in_its_order() -> None:
    """Centroids of the packs: 20 and 110 degrees; 50 is nearer to the first."""
    prompt = selecting(
        shown("30 a"), shown("10 b", "blue"), shown("100 c"), shown("120 d", "blue"), packs=((0, 1), (3, 2))
    )
    assert seen(prompt, "50 here") == ["30 a", "10 b"]
    assert seen(prompt, "80 here") == ["120 d", "100 c"]


def test_a_wide_pack_is_as_near_as_its_centroid() -> None:
    """From 60: the centroid of 0 and 120 is half way out at 60, .5 away; that of 85 and 95 is at 90, .52 away."""
    prompt = selecting(shown("0 a"), shown("120 b"), shown("85 c"), shown("95 d"), packs=((2, 3), (0, 1)))
    assert seen(prompt, "60 here") == ["0 a", "120 b"]
    assert seen(prompt, "63 here") == ["85 c", "95 d"]


@pytest.mark.parametrize(
    ("prompt", "most"),
    [
        (RING, 9),
        (replace(RING, shown=4), 4),
        (replace(RING, shown=99), 9),
        (replace(RING, packs=((0, 1, 2), (3, 4))), 3),
        (Prompt("None.", shown=4), 0),
    ],
)
def test_so_many_are_shown_at_most(prompt: Prompt, most: int) -> None:
    assert most_shown(prompt) == most
    assert len(for_task(prompt, values("45 here"), Angles()).demonstrations) <= most


@pytest.mark.parametrize("prompt", [RING, Prompt("None."), Prompt("None.", shown=4)])
def test_a_prompt_that_shows_all_to_all_stays_as_it_is_and_needs_no_embedder(prompt: Prompt) -> None:
    assert not selects(prompt)
    assert for_task(prompt, values("45 here"), None) is prompt
    assert rule(prompt, None) == ""


def test_a_prompt_that_selects_needs_an_embedder() -> None:
    for call in (lambda prompt: for_task(prompt, values("45 here"), None), lambda prompt: rule(prompt, None)):
        with pytest.raises(EmbeddingRefusedError, match="no embeddings"):
            call(replace(RING, shown=3))


@given(st.integers(1, 20), st.floats(0, 360), st.booleans())
def test_whatever_is_shown_is_there_and_once(count: int, degrees: float, packed: bool) -> None:
    packs = ((0, 4, 8), (1, 2), (7,)) if packed else ()
    found = seen(replace(RING, shown=count, packs=packs), f"{degrees} here")
    assert len(set(found)) == len(found)
    assert set(found) <= set(texts(RING))


def test_the_labeler_shows_each_task_its_own(llm: ScriptedLLM, local: OpenAIEngine) -> None:
    config = (
        '<View><Text name="text" value="$text"/><Choices name="colour" toName="text">'
        '<Choice value="red"/><Choice value="blue"/></Choices></View>'
    )
    asked = version(config, style="text", demonstrations=RING.demonstrations, shown=2)
    labeler = Labeler(local, embedder=Angles())
    says(llm, {"red": 0.6, "blue": 0.4})
    for task, near, far in (
        ("58 here", "\n40 degrees", "\n200 degrees"),
        ("218 here", "\n200 degrees", "\n40 degrees"),
    ):
        labeler.label(asked, schemas.parse(config), {"text": task})
        sent = llm.requests[-1].body["prompt"]
        assert near in sent
        assert far not in sent
    with pytest.raises(EmbeddingRefusedError):
        Labeler(local).label(asked, schemas.parse(config), {"text": "45 here"})
