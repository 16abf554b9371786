from dataclasses import replace

import pytest

from backend.labeling import schema as schemas
from backend.labeling.fields import Value
from backend.labeling.prompt import Demonstration, Prompt
from tests.labeling.building import choices
from worker.optimizer import techniques
from worker.optimizer.propose import Candidate
from worker.optimizer.techniques import FORMATS, REASONING, Technique

PLAIN = schemas.parse(choices("positive", "negative"))
HINTED = schemas.parse(choices('<Choice value="positive" hint="glad"/>', "negative"))
MULTIPLE = schemas.parse(choices("price", "sound", attributes='choice="multiple"'))
SHOWN = (Demonstration((Value("text", "a"),), {"sentiment": ("positive",)}),)
ALL = (*FORMATS, *REASONING)


def made(prompt: Prompt, schema: schemas.LabelingSchema = PLAIN, tried: tuple[Technique, ...] = ALL) -> list[Prompt]:
    return [each.prompt for each in techniques.variants(schema, Candidate(prompt, "it"), tried, 5)]


def test_a_plain_prompt_may_reason_or_name_its_labels_backwards() -> None:
    plain = Prompt("i")
    assert made(plain) == [replace(plain, backwards=True), replace(plain, rationale=True)]


def test_sampling_is_tried_on_prompts_that_reason_and_no_more_than_once() -> None:
    reasons = Prompt("i", rationale=True)
    assert replace(reasons, samples=5) in made(reasons)
    assert made(replace(reasons, samples=5), tried=REASONING) == []


def test_definitions_are_left_out_where_there_are_any() -> None:
    assert made(Prompt("i", {"positive": "glad"}), tried=("undescribed",)) != []
    assert made(Prompt("i"), HINTED, ("undescribed",)) == [Prompt("i", described=False)]
    assert made(Prompt("i"), PLAIN, ("undescribed",)) == []


def test_demonstrations_change_their_place_in_chat_alone() -> None:
    assert made(Prompt("i", demonstrations=SHOWN), tried=("inline",)) != []
    assert made(Prompt("i", demonstrations=SHOWN, style="text"), tried=("inline",)) == []
    assert made(Prompt("i"), tried=("inline",)) == []


def test_yes_or_no_questions_have_no_order_to_reverse() -> None:
    assert made(Prompt("i"), MULTIPLE, ("backwards",)) == []


def test_each_variant_says_in_words_what_it_is() -> None:
    found = techniques.variants(PLAIN, Candidate(Prompt("i", rationale=True), "the template"), REASONING, 7)
    assert [each.origin for each in found] == ["the template, the mean of up to 7 rationales"]


@pytest.mark.parametrize(("rationale", "tried"), [(False, ("rationale",)), (True, REASONING)])
def test_sampling_is_worth_its_price_once_reasoning_has_won(rationale: bool, tried: tuple[Technique, ...]) -> None:
    assert techniques.worth_trying(Prompt("i", rationale=rationale), REASONING) == tried


def test_the_price_of_a_technique_is_counted_in_calls() -> None:
    assert techniques.calls((), 5) == 0
    assert techniques.calls(("backwards", "rationale"), 5) == 3
    assert techniques.calls(("self-consistency",), 5) == 10
