"""`whetstone accept`: from labels drawn by lot to what may be accepted unseen, with the real store and a stub."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backend.label_studio import LabelStudioClient
from backend.predictions.audit import is_audit
from backend.projects import pushing
from backend.service import Service
from tests.flows.label_studio_stub import KEY, LabelStudioStub, choices
from tests.flows.payloads import CONFIG, PROJECT
from tests.scripted_llm import ScriptedLLM
from worker.acceptance import served
from worker.cli.accept import accept
from worker.labels import annotated, ground_truth
from worker.labels.annotation_store import AnnotationStore
from worker.labels.ground_truth import UNSEEN
from worker.labels.pull import pull

Run = Callable[..., Result]
SHARE = 0.5  # of the audit slice


class Desk:
    """A project of which everything is predicted: even tasks with a high score and rightly, odd ones with a low score,
    and of those every other is wrong."""

    def __init__(self, service: Service, stub: LabelStudioStub, *, tasks: int = 400) -> None:
        self.service, self.stub = service, stub
        self.current = service.current(PROJECT, CONFIG)
        self.version = self.current.version.name
        stub.add(*({"id": n, "data": {"text": f"text {n}"}} for n in range(1, tasks + 1)))
        self.predict(range(1, tasks + 1))
        stub.title = stub.model_version = self.version

    def score(self, task_id: int) -> float:
        return 0.5 if task_id % 2 else 0.9

    def predict(self, ids: Any, *, kind: str = "logprob") -> None:
        rows = {}
        for n in ids:
            (item,) = choices("positive")
            items = [{**item, "score": self.score(n), "whetstone": {"score_kind": kind}}]
            row = {"result": items, "score": self.score(n), "model_version": self.version}
            rows[self.current.schema.data_hash(self.stub.tasks[n])] = json.dumps(row).encode()
            self.stub.predict(n, "positive", version=self.version, score=self.score(n), result=items)
        self.service.store.keep_predictions(PROJECT, self.version, rows)

    def check(self, ids: Any) -> None:
        """A person labels these."""
        for n in ids:
            self.stub.annotate(n, "negative" if n % 4 == 1 else "positive")

    @property
    def drawn(self) -> list[int]:
        return [n for n in self.stub.tasks if is_audit(PROJECT, n, SHARE)]

    @property
    def open_and_sure(self) -> list[int]:
        return [n for n in self.stub.tasks if n % 2 == 0 and not self.stub.annotations.get(n)]


@pytest.fixture
def desk(service: Service, label_studio: LabelStudioStub) -> Desk:
    return Desk(service, label_studio)


@pytest.fixture
def run(redis_url: str, scripted_llm: ScriptedLLM, pushes: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    settings = {
        "redis_url": redis_url,
        "openai_base_url": scripted_llm.base_url,
        "llm_model": "scripted-1",
        "log_level": "ERROR",
        "audit_share": str(SHARE),
    }
    for name, value in (settings | pushes).items():
        monkeypatch.setenv(name.upper(), value)

    def invoke(*arguments: str, answer: str = "") -> Result:
        return CliRunner().invoke(accept, ["1", *arguments], input=answer)

    return invoke


def test_what_is_sure_enough_is_exported_and_nothing_else(desk: Desk, run: Run, tmp_path: Path) -> None:
    desk.check(desk.drawn[:120])
    result = run("--target", ".95", "--export", str(tmp_path / "sure.jsonl"), "--json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "sure.jsonl").read_text().splitlines()]
    assert [row["task"] for row in rows] == desk.open_and_sure
    assert rows[0]["labels"] == {"sentiment": ["positive"]}
    assert {(row["score"], row["version"]) for row in rows} == {(0.9, desk.version)}
    found = json.loads(result.stdout)["certificate"]
    checked = [n for n in desk.drawn[:120] if n % 2 == 0]
    assert (found["threshold"], found["tasks"], found["checked"], found["errors"]) == (0.9, len(rows), len(checked), 0)


def test_a_table_has_the_same_rows(desk: Desk, run: Run, tmp_path: Path) -> None:
    desk.check(desk.drawn[:120])
    assert run("--target", ".95", "--export", str(tmp_path / "sure.csv")).exit_code == 0
    rows = list(csv.DictReader((tmp_path / "sure.csv").open()))
    assert [int(row["task"]) for row in rows] == desk.open_and_sure
    assert rows[0] == {"task": rows[0]["task"], "sentiment": "positive", "score": "0.9", "version": desk.version}


def test_a_target_that_cannot_be_met_says_what_can_and_changes_nothing(desk: Desk, run: Run, tmp_path: Path) -> None:
    desk.check(desk.drawn[:20])
    result = run("--target", ".95", "--export", str(tmp_path / "sure.csv"), "--tab", "--annotate", "--yes")
    assert result.exit_code == 1
    assert "95 % right, 90 % sure: from no score on, so far." in result.stdout
    assert "right can be promised now. About" in result.stdout
    assert "The scores of p0001" in result.stdout
    assert "are uncalibrated" in result.stdout
    assert not list(tmp_path.iterdir())
    assert not desk.stub.tabs
    assert len(desk.stub.annotations) == 20


def test_only_labels_drawn_by_lot_count(desk: Desk, run: Run) -> None:
    desk.check([n for n in desk.stub.tasks if n not in desk.drawn])
    result = run("--target", ".95", "--json")
    assert (result.exit_code, json.loads(result.stdout)["certificate"]["checked"]) == (1, 0)


def test_the_tab_shows_what_the_certificate_lets_through_and_is_made_once(desk: Desk, run: Run) -> None:
    desk.check(desk.drawn[:120])
    assert 'the tab "Accept: 95 %" shows them' in run("--target", ".95", "--tab").stdout
    run("--target", "0.95", "--tab")
    (tab,) = desk.stub.tabs
    filters = {
        (each["filter"].rpartition(":")[2], each["operator"]): each["value"] for each in tab["data"]["filters"]["items"]
    }
    assert filters == {
        ("predictions_score", "greater_or_equal"): 0.9,
        ("predictions_model_versions", "contains"): [desk.version],
        ("total_annotations", "equal"): 0,
        ("cancelled_annotations", "equal"): 0,
    }


def test_annotations_are_made_only_after_a_yes_and_never_become_ground_truth(desk: Desk, run: Run) -> None:
    desk.check(desk.drawn[:120])
    expected = [n for n in desk.open_and_sure if n not in desk.drawn]
    assert run("--target", ".95", "--annotate", answer="n\n").exit_code == 1
    assert len(desk.stub.annotations) == 120
    result = run("--target", ".95", "--annotate", answer="y\n")
    assert f"{len(expected)} predictions are annotations now" in result.stdout
    assert sorted(desk.stub.annotations) == sorted([*desk.drawn[:120], *expected])
    store, client = AnnotationStore(desk.service.redis), LabelStudioClient(desk.stub.url, KEY)
    pull(client, store, 1, PROJECT, desk.current.schema, whole=True)
    truth = ground_truth.examples(store.tasks(PROJECT), desk.current.schema)
    assert len(truth.examples) == 120
    assert truth.left_out == {UNSEEN: len(expected)}


def test_what_somebody_annotates_meanwhile_is_left_alone(desk: Desk) -> None:
    client = LabelStudioClient(desk.stub.url, KEY)
    desk.check([2])
    assert client.annotate_from_predictions(1, [2, 4], desk.version) == 1
    assert client.annotate_from_predictions(1, [2, 4], desk.version) == 0


def test_scores_of_another_kind_are_never_let_through(desk: Desk, run: Run) -> None:
    desk.check(desk.drawn[:120])
    others = desk.open_and_sure[:3]
    desk.predict(others, kind="votes")
    result = run("--target", ".95", "--json")
    found = json.loads(result.stdout)
    assert (found["certificate"]["score_kind"], found["certificate"]["tasks"]) == (
        "logprob",
        len(desk.open_and_sure) - 3,
    )
    assert "3 predictions with scores of another kind" in " ".join(found["about"])


def test_tasks_without_a_prediction_are_counted_apart(desk: Desk, run: Run) -> None:
    desk.check(desk.drawn[:120])
    desk.stub.add({"id": 999, "data": {"text": "new"}})
    assert "1 open task without a prediction" in run("--target", ".95").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--target", "95"), "is not in the range"),
        (("--target", "1"), "is not in the range"),
        (("--target", ".9", "--sure", "1"), "is not in the range"),
        ((), "Missing option '--target'"),
        (("--target", ".9", "--export", "sure.xlsx"), "must end in .jsonl or .csv"),
        (("--target", ".9", "--annotate", "--json"), "add --yes"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_asked(run: Run, arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())


def test_a_file_that_cannot_be_written_is_named(desk: Desk, run: Run, tmp_path: Path) -> None:
    desk.check(desk.drawn[:120])
    result = run("--target", ".95", "--export", str(tmp_path / "no" / "sure.csv"))
    assert "sure.csv cannot be written: No such file" in str(result.exception)


def test_a_report_goes_by_what_was_served_and_asks_label_studio_nothing(desk: Desk) -> None:
    desk.check(range(1, 11))
    pull(
        LabelStudioClient(desk.stub.url, KEY),
        AnnotationStore(desk.service.redis),
        1,
        PROJECT,
        desk.current.schema,
        whole=True,
    )
    desk.stub.calls.clear()
    found = served.open_scores(desk.service, PROJECT, desk.version, desk.current.schema)
    assert sorted(each.score for each in found) == sorted(desk.score(n) for n in range(11, 401))
    assert {each.kind for each in found} == {"logprob"}
    assert not desk.stub.calls


def test_labels_are_read_as_learning_reads_them(desk: Desk, run: Run) -> None:
    """Another reading would make the next one begin anew, and forget the reasons that people wrote."""
    area = '<TextArea name="rationale" toName="text"/>'
    desk.stub.config = CONFIG.replace("</View>", f"{area}</View>")
    desk.check(desk.drawn[:30])
    project = pushing.target(desk.service, LabelStudioClient(desk.stub.url, KEY), 1, key=PROJECT)
    annotated.refresh(desk.service, LabelStudioClient(desk.stub.url, KEY), project, whole=False)
    before = AnnotationStore(desk.service.redis).cursor(PROJECT)
    run("--target", ".95")
    after = AnnotationStore(desk.service.redis).cursor(PROJECT)
    assert before
    assert after
    assert after.scope == before.scope
