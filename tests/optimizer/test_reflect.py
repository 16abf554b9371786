import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labeling.errors import (
    BudgetError,
    ContentFilterError,
    EngineError,
    EngineUnreachableError,
    PromptTooLongError,
)
from backend.labeling.prompt import Prompt
from backend.labeling.schema import LabelingSchema
from tests.optimizer.world import BROUGHT, DAY, FOUR, SEVERAL
from worker.labels.examples import Example
from worker.optimizer import edits, templates
from worker.optimizer.outcomes import Graded
from worker.optimizer.propose import Candidate
from worker.optimizer.reflect import Lesson, Seen, Views, learn, lessons

ACTIVE = Prompt("Say in which direction the text points.")
QUOTED = "the old mill stands to the north of the slow brown river"


def seen(
    number: int, truth: str, said: str, *, text: str = "", name: str = "side", options: Sequence[str] = ()
) -> Seen:
    text = text or f"text number {number}"
    example = Example(str(number), {"text": text, "options": list(options)}, {name: (truth,)}, DAY)
    values = {name: (said,)} if said else {}
    return Seen(example, text, Graded(truth == said, 1.0 if truth == said else -float(number), 0.5, values))


SEEN = [
    *(seen(i, "north", "south", text=QUOTED if i == 3 else "") for i in range(1, 5)),
    *(seen(i, "east", "north") for i in range(5, 7)),
    seen(7, "west", ""),
    *(seen(i, "north", "north") for i in range(8, 12)),
    *(seen(i, "south", "south") for i in range(12, 14)),
]


def asked(schema: LabelingSchema = FOUR, found: Sequence[Seen] = SEEN, **views: object) -> list[Lesson]:
    return list(lessons(schema, ACTIVE, found, Views(**views), random.Random(0)))  # type: ignore[arg-type]


def taught(
    answer: str | Callable[[str], str], active: Prompt = ACTIVE, found: Sequence[Seen] = SEEN
) -> list[Candidate]:
    ask = answer if callable(answer) else lambda _request: answer
    return list(learn(lessons(FOUR, active, found, Views(), random.Random(0)), found, ask))


# -- what is asked


def test_confusions_are_asked_about_commonest_first_then_a_definition_then_the_instruction() -> None:
    assert [lesson.origin for lesson in asked()] == [
        'rules for "north" taken for "south"',
        'rules for "east" taken for "north"',
        'rules for "west" taken for "nothing usable"',
        'a definition of "north"',
        *(f"the instruction rewritten {style}" for style in templates.REWRITE_STYLES),
    ]


def test_a_confusion_shows_its_errors_most_confident_first_and_what_is_right_of_both_labels() -> None:
    request = asked()[0].request
    assert request.index("text number 4") < request.index(QUOTED) < request.index('text number 1"')
    assert "text number 5" not in request
    shown = [f"text number {i}" for i in range(8, 14) if f'text number {i}"' in request]
    assert len(shown) == 4


def test_the_teacher_is_told_the_guideline_the_instruction_its_rules_and_the_labels() -> None:
    active = replace(ACTIVE, rules=("Mind the sun.",), definitions={"east": "where the sun rises"})
    request = next(lessons(FOUR, active, SEEN, Views(guideline="As on a map."), random.Random(0))).request
    for told in (
        "As on a map.",
        ACTIVE.instruction,
        "- Mind the sun.",
        "side: north; east (where the sun rises); south",
    ):
        assert told in request


def test_long_texts_are_shown_in_part() -> None:
    request = asked(found=[seen(1, "north", "south", text="word " * 4000)])[0].request
    assert len(request) < 2500


def test_braces_in_a_text_or_guideline_are_just_braces() -> None:
    found = [seen(1, "north", "south", text="{truth} {0} {"), *SEEN]
    assert "{truth} {0} {" in asked(found=found, guideline="{errors}")[0].request


def test_what_people_split_on_is_no_error() -> None:
    split = [replace(each, example=replace(each.example, disputed=True)) for each in SEEN[:4]]
    lesson, *_ = asked(found=[*split, *SEEN[4:]])
    assert lesson.origin == 'rules for "east" taken for "north"'
    assert not any(f'"{each.text}"' in lesson.request for each in split)


def test_nothing_wrong_asks_for_rewrites_alone() -> None:
    assert len(asked(found=[each for each in SEEN if each.graded.right])) == len(templates.REWRITE_STYLES)


def test_of_several_labels_the_one_missed_most_is_defined() -> None:
    def several(number: int, truth: tuple[str, ...], said: tuple[str, ...]) -> Seen:
        example = Example(str(number), {"text": "t"}, {"topics": truth}, DAY)
        return Seen(example, "t", Graded(False, -1.0, 0.5, {"topics": said}))

    found = [several(1, ("price", "sound"), ("price",)), several(2, (), ("sound",)), several(3, ("screen",), ())]
    origins = [lesson.origin for lesson in asked(SEVERAL, found)]
    assert 'a definition of "sound"' in origins
    assert origins[0] == 'rules for "price, sound" taken for "price"'


# -- what a teacher that may see no texts is told


@given(st.lists(st.text(min_size=12, max_size=60).filter(lambda text: text.strip()), min_size=1, max_size=6))
def test_without_texts_no_request_holds_one(texts: list[str]) -> None:
    marked = [f"ZQX {text} XQZ" for text in texts]
    found = [seen(i, "north", "south" if i % 2 else "north", text=text) for i, text in enumerate(marked)]
    for lesson in asked(found=found, texts=False):
        assert "ZQX" not in lesson.request
        assert not any(text in lesson.request for text in marked)


def test_without_texts_the_confusions_are_counted() -> None:
    requests = [lesson.request for lesson in asked(texts=False)]
    assert '- 4 of "north", for which the model says "south"' in requests[0]
    assert '- 4 of "north", for which the model says "north"' in requests[0]
    assert '- 2 of "east", for which the model says "north"' in requests[-1]
    assert '- 1 of "west", for which the model says "nothing usable"' in requests[-1]


@given(st.text(alphabet="abcdefgh ", min_size=8, max_size=30).filter(lambda text: len(text.strip()) >= 8))
def test_without_texts_an_option_that_a_task_brought_is_not_named(option: str) -> None:
    option = f"ZQX{option.strip()}"
    found = [seen(1, option, "b", name="answer", options=[option, "b"]), seen(2, "b", "b", name="answer")]
    for lesson in asked(BROUGHT, found, texts=False):
        assert option not in lesson.request
        assert option not in lesson.origin
        assert templates.OWN_OPTIONS in lesson.request


# -- what becomes of the answers


def answer(request: str) -> str:
    if '"rules"' in request:
        return json.dumps({"rules": [f"Rule about {request[-400:][:30]!r}."]})
    if '"definition"' in request:
        return json.dumps({"definition": "Towards the top of the map."})
    style = next(style for style in templates.REWRITE_STYLES if style in request)
    return f"Certainly! Here it is:\n```json\n{json.dumps({'instruction': f'Anew, {style}.'})}\n```"


def test_each_answer_becomes_a_small_edit() -> None:
    found = taught(lambda request: answer(request) if '"rules"' not in request else '{"rules": ["One.", "Two.", "3."]}')
    assert found[0].prompt == replace(ACTIVE, rules=("One.", "Two."))
    assert found[1].prompt == replace(ACTIVE, definitions={"north": "Towards the top of the map."})
    assert [each.prompt.instruction for each in found[2:]] == [f"Anew, {s}." for s in templates.REWRITE_STYLES]


def test_a_rewrite_takes_the_place_of_the_rules_a_rule_comes_after_them() -> None:
    active = replace(ACTIVE, rules=tuple(f"Old rule {i}." for i in range(12)))
    found = taught('{"rules": ["A new one."], "instruction": "Look at the compass."}', active)
    assert found[0].prompt.rules == (*active.rules[1:], "A new one.")
    assert found[-1].prompt == Prompt("Look at the compass.")


REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "",
    "null",
    "[1, 2, 3]",
    '{"rules": [], "instruction": "", "definition": "  "}',
    '{"rules": ["   "], "instruction": "\\n", "definition": null}',
    '{"rules": "north", "instruction": ["north"], "definition": {"north": "up"}}',
    '{"rules": [1, null, {}], "instruction": 5, "definition": true}',
    '{"rules": ["Unclosed',
    "{" * 50_000,
    "[" * 100_000 + "{}",
    '{"a":' * 20_000 + "1" + "}" * 20_000,
    '{"instruction": ' + "9" * 5000 + "}",
    json.dumps({"rules": ["north " * 9000], "instruction": "north " * 9000, "definition": "north " * 9000}),
    json.dumps({"instruction": ACTIVE.instruction}),
    json.dumps({"instruction": f"  {ACTIVE.instruction.upper()}\n"}),
    json.dumps({"rules": [f"When {QUOTED}, it is north."], "instruction": QUOTED, "definition": QUOTED.title()}),
]


@pytest.mark.parametrize("said", REFUSALS, ids=lambda said: said[:24])
def test_an_answer_that_cannot_be_used_is_dropped(said: str) -> None:
    assert taught(said) == []


@pytest.mark.parametrize(
    "said",
    [
        "Отвечай, куда указывает текст: на север, на восток, на юг или на запад.",
        "文章がどの方角を指しているかを答えてください。",
        "Always answer north.",  # it cannot drop the other labels: they are listed beside it
        "half a pair \ud83d and a NUL \x00",
    ],
)
def test_any_other_instruction_is_a_candidate_that_can_be_kept_and_sent(said: str) -> None:
    (found,) = taught(json.dumps({"instruction": said}))
    assert found.prompt.instruction.encode().decode() == found.prompt.instruction
    assert "\x00" not in found.prompt.instruction
    assert found.prompt.definitions == ACTIVE.definitions


@given(st.text(max_size=300), st.booleans())
def test_no_answer_is_an_exception(said: str, as_value: bool) -> None:
    whole = json.dumps({"rules": [said], "definition": said, "instruction": said}) if as_value else said
    for each in taught(whole):
        assert each.prompt != ACTIVE
        assert each.prompt.instruction.strip()


@pytest.mark.parametrize("error", [BudgetError("no more"), EngineError("gone"), EngineUnreachableError("down")])
def test_a_teacher_that_gives_out_leaves_what_it_taught(error: Exception) -> None:
    answers = iter(["nonsense", '{"rules": ["Mind the sun."]}'])

    def ask(_request: str) -> str:
        try:
            return next(answers)
        except StopIteration:
            raise error from None

    assert [each.prompt.rules for each in taught(ask)] == [("Mind the sun.",)]


@pytest.mark.parametrize("error", [ContentFilterError("moderated"), PromptTooLongError("too long")])
def test_a_lesson_that_the_teacher_s_endpoint_refuses_costs_only_itself(error: Exception) -> None:
    """Where all are refused nothing is learned, and nothing raised."""
    first, *_ = asked()

    def ask(request: str) -> str:
        if request == first.request:
            raise error
        return '{"rules": ["Mind the sun."]}'

    def refuse(_request: str) -> str:
        raise error

    assert [each.origin for each in taught(ask)] == ['rules for "east" taken for "north"']
    assert taught(refuse) == []


def test_the_same_answer_twice_is_one_candidate() -> None:
    found = taught('{"rules": ["Mind the sun, it rises in the east and sets in the west of the map."]}')
    assert len(found) == 1


def test_different_rules_after_a_long_instruction_are_different() -> None:
    rules = iter(["Rivers run south.", "Moss grows on the north.", "The sun sets in the west."])
    active = Prompt("Say where it points. " * 50)
    assert len(taught(lambda _request: json.dumps({"rules": [next(rules, "")]}), active)) == 3


def test_rewrites_that_differ_in_a_word_of_twenty_are_one() -> None:
    endings = iter(["day", "morning", "evening"])

    def ask(request: str) -> str:
        words = "Say in which of the four directions the text as a whole points and judge by what its writer saw that"
        return json.dumps({"instruction": f"{words} {next(endings)}."}) if '"instruction"' in request else "{}"

    assert len(taught(ask)) == 1


def test_what_the_active_prompt_itself_quotes_spoils_no_edit_of_it() -> None:
    active = Prompt(f"Say where it points. If {QUOTED}, say north.")
    assert len(taught('{"rules": ["Mind the sun."]}', active)) == 1


@pytest.mark.parametrize(
    ("written", "quoted"),
    [
        ("The old mill stands to the north of it.", True),  # eight words
        ("old mill stands to the north of the", True),
        ("The OLD mill; stands -- to (the) north, of: the river", True),
        ("mill stands to the north of the", False),  # seven
        ("The old mill stands to the south of the slow brown river", False),
        ("", False),
    ],
)
def test_eight_words_in_a_row_are_a_quote(written: str, quoted: bool) -> None:
    assert edits.quotes(written, ["nothing", QUOTED]) is quoted


MILL = "古い水車小屋はゆっくり流れる茶色い川の北にある"
RIVER = "โรงสีเก่าตั้งอยู่ทางเหนือของแม่น้ำสีน้ำตาลที่ไหลช้า"


@pytest.mark.parametrize(
    ("written", "quoted"),
    [
        ("例えば、水車小屋はゆっくり流れる茶色い川場合", True),  # sixteen characters
        ("例えば、水車小屋はゆっくり流れる茶色い場合", False),  # fifteen
        ("川の北にあれば北", False),
        (f"เช่น {RIVER[:24]}", True),
        (f"เช่น {RIVER[:23]} อื่น", False),
        (f"{MILL[10:]} แล้ว", False),
    ],
)
def test_where_no_spaces_part_words_characters_are_counted(written: str, quoted: bool) -> None:
    assert edits.quotes(written, [MILL, RIVER]) is quoted


def test_words_and_characters_in_a_row_add_up() -> None:
    text = "Die Maschine XR 500 von 水車小屋株式会社 ist laut"
    assert edits.quotes("XR 500 von 水車小屋株式会社 ist", [text])  # 3 words, 8 halves, 1 word
    assert not edits.quotes("500 von 水車小屋株式会社 ist", [text])
