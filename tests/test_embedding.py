"""Embeddings from the model on this machine and from an endpoint, and what is remembered of them."""

import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest

from backend.calls.embedding import RememberingEmbedder, make_embedder
from backend.calls.embedding_sources import Bill, Embedded, Endpoint, LocalModel, Pay, free, make_wire
from backend.labeling.embedding import dot, mean, unit
from backend.labeling.errors import BudgetError, EmbeddingError, EmbeddingRefusedError, EngineError
from backend.settings import Settings
from tests.loopback import Answer, LoopbackServer
from tests.scripted_llm import Fault, Script, ScriptedLLM
from tests.scripted_llm.embeddings import embeddings

TEXTS = ["The card was declined.", "Why was my card declined?", "The film bored me."]


@contextmanager
def endpoint(base_url: str, **fields: Any) -> Iterator[RememberingEmbedder]:
    named = Settings(**{"embeddings_model": "embed-1", "embeddings_base_url": base_url, **fields})
    with closing(make_wire(named)) as wire:
        yield RememberingEmbedder(Endpoint(wire, named.embeddings_model))


class Counting:
    """A source of vectors that says how often it was asked, and which may become another model's."""

    def __init__(self, model: str = "one", dimensions: int = 2) -> None:
        self.model, self.dimensions = model, dimensions
        self.asked: list[list[str]] = []

    def embed(self, texts: Sequence[str], _pay: Pay = free, /) -> Embedded:
        self.asked.append(list(texts))
        vectors = [unit([float(len(text)), *([1.0] * (self.dimensions - 1))]) for text in texts]
        return Embedded(f"{self.model} {self.dimensions}", vectors, self.quote(texts))

    def quote(self, texts: Sequence[str]) -> Bill:
        return Bill(1, sum(map(len, texts)))


def test_vectors_become_of_unit_length_and_their_product_the_cosine() -> None:
    """cos((3, 4), (4, 3)) = 24 / 25; the mean of (1, 0) and (0, 1) is (.5, .5)."""
    assert dot(unit([3.0, 4.0]), unit([4.0, 3.0])) == pytest.approx(0.96)
    assert list(unit([0.0, 0.0])) == [0.0, 0.0]
    assert mean([(1.0, 0.0), (0.0, 1.0)]) == [0.5, 0.5]


def test_texts_of_one_meaning_are_nearer_than_others() -> None:
    declined, why, film = RememberingEmbedder(LocalModel()).embed(TEXTS)
    assert math.isclose(dot(declined, declined), 1.0, rel_tol=1e-5)
    assert dot(declined, why) > 2 * dot(declined, film)


@pytest.mark.parametrize("text", ["", " ", "\ud800", "\u200b", "日本語", "x" * 100_000])
def test_any_text_has_a_vector(text: str) -> None:
    (vector,) = RememberingEmbedder(LocalModel()).embed([text])
    assert len(vector) == 256
    assert dot(vector, vector) == pytest.approx(1.0, rel=1e-4) or not any(vector)


def test_the_local_model_is_loaded_only_when_it_is_used() -> None:
    code = (
        "import sys, backend.service, backend.settings as s\n"
        "made = backend.service.Service(s.Settings())\n"
        "assert 'wordllama' not in sys.modules\n"
        "made.embedder.embed(['text'])\n"
        "assert 'wordllama' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_loading_it_leaves_the_log_as_it_was() -> None:
    code = (
        "import logging\n"
        "from backend.calls.embedding_sources import LocalModel\n"
        "LocalModel().embed(['text'])\n"
        "assert (logging.getLogger().level, logging.getLogger().handlers) == (logging.WARNING, [])"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_text_is_embedded_once() -> None:
    source = Counting()
    embedder = RememberingEmbedder(source)
    first = embedder.embed(["a", "bb"])
    assert embedder.embed(["bb", "ccc", "a", "a"]) == [first[1], *embedder.embed(["ccc"]), first[0], first[0]]
    assert source.asked == [["a", "bb"], ["ccc"]]


def test_only_what_is_not_remembered_costs_something() -> None:
    embedder = RememberingEmbedder(Counting())
    assert embedder.quote(["a", "bb", "a"]) == embedder.billed(["a", "bb", "a"])[1] == Bill(1, 3)
    assert embedder.quote(["bb"]) == embedder.billed(["bb"])[1] == Bill()
    assert embedder.quote(["bb", "ccc"]) == embedder.billed(["bb", "ccc"])[1] == Bill(1, 3)


def test_what_is_embedded_anew_because_the_model_changed_is_paid_twice() -> None:
    source = Counting(dimensions=2)
    embedder = RememberingEmbedder(source)
    embedder.embed(["a"])
    source.dimensions = 3
    assert embedder.billed(["a", "bb"])[1] == Bill(2, 3)


def test_embeddings_made_on_this_machine_cost_nothing() -> None:
    embedder = RememberingEmbedder(LocalModel())
    assert (embedder.quote(TEXTS), embedder.billed(TEXTS)[1]) == (Bill(), Bill())


def test_an_endpoint_s_requests_and_tokens_are_counted(scripted_llm: ScriptedLLM) -> None:
    """33 texts, each of seven letters and spaces and three digits, which weigh 3.5 of these: 17.5 / 3.5 = 5 tokens are
    estimated, a third more are asked for, and one a text."""
    texts = [f"aaa bb {i:03}" for i in range(33)]
    with endpoint(scripted_llm.base_url) as embedder:
        assert embedder.quote(texts) == Bill(2, 33 * 8)
        _, bill = embedder.billed(texts)
    told = [embeddings(Script(), request.body)["usage"]["prompt_tokens"] for request in scripted_llm.requests]
    assert bill == Bill(2, sum(told))


@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": {}}, {"usage": {"prompt_tokens": None}}], ids=str)
def test_where_an_endpoint_does_not_tell_its_tokens_they_are_estimated(usage: dict[str, Any]) -> None:
    answer = Answer(200, {"data": [{"index": 0, "embedding": [1.0]}], **usage})
    with LoopbackServer({"POST /v1/embeddings": answer}) as server, endpoint(f"{server.url}/v1") as embedder:
        assert embedder.billed(["nine char"])[1] == Bill(1, 5)


def test_only_so_many_are_remembered_and_the_latest_used_stay() -> None:
    source = Counting()
    embedder = RememberingEmbedder(source, most=2)
    for texts in (["a"], ["bb"], ["a"], ["ccc"], ["a"], ["bb"]):
        embedder.embed(texts)
    assert source.asked == [["a"], ["bb"], ["ccc"], ["bb"]]
    assert len(embedder.embed(["1", "22", "333", "4444"])) == 4


def test_another_model_s_vectors_never_meet_those_before() -> None:
    source = Counting(dimensions=2)
    embedder = RememberingEmbedder(source)
    embedder.embed(["a", "bb"])
    source.dimensions = 3
    assert [len(vector) for vector in embedder.embed(["a", "bb", "new"])] == [3, 3, 3]
    assert embedder.fingerprint == "one 3"
    source.model = "two"
    embedder.embed(["a", "newer"])
    assert (source.asked[-1], embedder.fingerprint) == (["a"], "two 3")


def test_a_model_that_changes_at_each_call_is_an_error_that_may_pass() -> None:
    class Restless(Counting):
        def embed(self, texts: Sequence[str], _pay: Pay = free, /) -> Embedded:
            self.dimensions += 1
            return super().embed(texts)

    embedder = RememberingEmbedder(Restless())
    embedder.embed(["known"])
    with pytest.raises(EmbeddingError, match="another model answers"):
        embedder.embed(["known", "new"])


def test_demonstrations_are_embedded_by_whoever_comes_first() -> None:
    source = Counting()
    embedder = RememberingEmbedder(source)
    shown = [f"demonstration {i}" for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: embedder.embed([*shown, f"task {i}"]), range(40)))
    asked = [text for texts in source.asked for text in texts if text in shown]
    assert sorted(asked) == shown


def test_the_fingerprint_tells_the_model_and_its_dimensions(scripted_llm: ScriptedLLM) -> None:
    scripted_llm.change(dimensions=7)
    with endpoint(scripted_llm.base_url) as embedder:
        assert embedder.fingerprint == "embed-1 7"
    assert make_embedder(Settings()).fingerprint.split()[::2] == ["wordllama", "256"]


def test_an_endpoint_s_vectors_come_in_the_order_of_the_texts(scripted_llm: ScriptedLLM) -> None:
    texts = [f"word{i} {i}" for i in range(100)]
    with endpoint(scripted_llm.base_url) as embedder, endpoint(scripted_llm.base_url) as other:
        found = embedder.embed(texts)
        assert [len(request.body["input"]) for request in scripted_llm.requests] == [32, 32, 32, 4]
        assert found[50] == other.embed([texts[50]])[0] != found[51]


def test_an_endpoint_that_restarts_with_other_dimensions_is_asked_anew(scripted_llm: ScriptedLLM) -> None:
    with endpoint(scripted_llm.base_url) as embedder:
        embedder.embed(TEXTS)
        scripted_llm.change(dimensions=5)
        assert [len(vector) for vector in embedder.embed([*TEXTS, "new"])] == [5] * 4
        assert embedder.fingerprint == "embed-1 5"


def test_an_endpoint_that_is_down_is_an_error_that_may_pass_and_names_the_setting(scripted_llm: ScriptedLLM) -> None:
    scripted_llm.stop()
    with endpoint(scripted_llm.base_url) as embedder, pytest.raises(EmbeddingError) as caught:
        embedder.embed(TEXTS)
    assert str(caught.value).startswith("EMBEDDINGS_BASE_URL: the embeddings endpoint at http://127.0.0.1")
    assert caught.value.retryable
    assert "EMBEDDINGS_BASE_URL" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "kind"), [(503, EmbeddingError), (429, EmbeddingError), (404, EmbeddingRefusedError)]
)
def test_what_may_pass_is_told_from_what_will_not(
    scripted_llm: ScriptedLLM, status: int, kind: type[EngineError]
) -> None:
    scripted_llm.change(faults=lambda *_: Fault(status=status))
    with endpoint(scripted_llm.base_url) as embedder, pytest.raises(kind, match=str(status)):
        embedder.embed(TEXTS)


@pytest.mark.parametrize("trouble", [{"moderated": "odd"}, {"context_tokens": 40}], ids=["moderated", "too long"])
def test_a_text_that_is_refused_is_like_no_other_and_its_neighbours_have_their_vectors(
    scripted_llm: ScriptedLLM, trouble: dict[str, Any]
) -> None:
    """Of 32 texts one is found in five halvings, two requests each; asking again costs nothing."""
    texts = [f"word{i} {'odd ' * 90 if i == 5 else i}" for i in range(32)]
    with endpoint(scripted_llm.base_url) as embedder, endpoint(scripted_llm.base_url) as other:
        plain = other.embed([*texts[:5], *texts[6:]])
        scripted_llm.change(**trouble)
        before = len(scripted_llm.requests)
        found, bill = embedder.billed(texts)
        assert len(scripted_llm.requests) - before == bill.calls == 1 + 2 * 5
        assert list(found[5]) == [0.0] * len(found[0])
        assert [*found[:5], *found[6:]] == plain
        assert embedder.billed(texts)[1] == Bill()


def test_a_text_that_is_refused_alone_takes_its_dimensions_from_another(scripted_llm: ScriptedLLM) -> None:
    scripted_llm.change(moderated="odd", dimensions=3)
    with endpoint(scripted_llm.base_url) as embedder:
        (vector,), bill = embedder.billed(["odd"])
        assert (list(vector), embedder.fingerprint, bill.calls) == ([0.0] * 3, "embed-1 3", 2)


def test_an_endpoint_that_refuses_every_text_is_an_error(scripted_llm: ScriptedLLM) -> None:
    scripted_llm.change(moderated="e")
    with endpoint(scripted_llm.base_url) as embedder, pytest.raises(EmbeddingRefusedError, match="content filter"):
        embedder.embed(TEXTS)


def test_whoever_pays_is_asked_before_each_request_that_a_refusal_takes(scripted_llm: ScriptedLLM) -> None:
    scripted_llm.change(moderated="odd")
    paid: list[Bill] = []

    def pay(more: Bill) -> None:
        if len(paid) == 3:
            raise BudgetError("no more")
        paid.append(more)

    with endpoint(scripted_llm.base_url) as embedder, pytest.raises(BudgetError):
        embedder.billed(["a", "b", "c", "odd"], pay)
    assert len(scripted_llm.requests) == 1 + len(paid)
    assert [each.calls for each in paid] == [1, 1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"data": [{"index": 0, "embedding": []}]},
        {"data": [{"index": 0, "embedding": ["x"]}]},
        {"data": [{"index": 1, "embedding": [0.5]}]},
        {"error": "none"},
        {"data": [{"index": 0, "embedding": [0.5]}, {"index": 1, "embedding": [0.5, 0.5]}]},
    ],
    ids=str,
)
def test_an_answer_that_holds_no_usable_vectors_is_an_error(answer: dict[str, Any]) -> None:
    with (
        LoopbackServer({"POST /v1/embeddings": Answer(200, answer)}) as server,
        endpoint(f"{server.url}/v1") as embedder,
        pytest.raises(EmbeddingError, match="EMBEDDINGS_BASE_URL gave"),
    ):
        embedder.embed(["text"])


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"embeddings_api_key": "own", "openai_api_key": "labels"}, "Bearer own"),
        ({"openai_api_key": "labels"}, "Bearer none"),
    ],
)
def test_no_other_endpoint_gets_the_key_of_the_one_that_labels(
    scripted_llm: ScriptedLLM, fields: dict[str, str], sent: str
) -> None:
    with endpoint(scripted_llm.base_url, **fields) as embedder:
        embedder.embed(["text"])
    assert scripted_llm.requests[-1].headers["authorization"] == sent


def test_the_endpoint_that_labels_embeds_where_no_other_is_named(scripted_llm: ScriptedLLM) -> None:
    with endpoint("", openai_base_url=scripted_llm.base_url, openai_api_key="labels") as embedder:
        embedder.embed(["text"])
    assert scripted_llm.requests[-1].headers["authorization"] == "Bearer labels"


def test_a_refusal_does_not_show_the_key(scripted_llm: ScriptedLLM) -> None:
    scripted_llm.change(api_key="right")
    with (
        endpoint(scripted_llm.base_url, embeddings_api_key="hunter2") as embedder,
        pytest.raises(EmbeddingRefusedError) as caught,
    ):
        embedder.embed(["text"])
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
