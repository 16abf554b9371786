"""A project that has learned: an initial prompt, one that was published, one that awaits approval, and their runs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backend.labeling.calibration import Calibration
from backend.labeling.fields import Value
from backend.labeling.prompt import Demonstration, Prompt, PromptVersion
from backend.service import Seen, Service
from backend.storage.runs import Estimate, RunRecord, Spend
from tests.flows.payloads import CONFIG, OTHER_CONFIG, PROJECT
from worker.labels.examples import Example
from worker.optimizer.outcomes import Graded
from worker.report.document import Report
from worker.report.report import Judged, Material, build
from worker.report.sections import sections

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
URL = "http://label-studio.test:8080"
DEMONSTRATION = Demonstration((Value("text", "Broke twice.\nNever again."),), {"sentiment": ("negative",)})
LEARNED = Prompt(
    "Decide how the customer feels. Mind what they say last.",
    definitions={"positive": "praise", "negative": "a complaint"},
    rules=("Sarcasm is negative.",),
    demonstrations=(DEMONSTRATION,),
    style="text",
    calibration=Calibration({"sentiment": {"positive": 0.31, "negative": -0.31}}, 1.25, 64),
)
ESTIMATE = Estimate("holdout", 50, 0.78, 0.86, 0.08, 0.01, 0.15, 0.97, 6, 2)
SPEND = Spend(student_calls=480, teacher_calls=3, prompt_tokens=90_000, completion_tokens=480, usd=0.02, seconds=61.4)


class History:
    """Names of the versions: `seed` was active first, `learned` is, `waiting` never was, `foreign` has other labels."""

    def __init__(self, service: Service, *, key: str = PROJECT, url: str = URL) -> None:
        service.see_project(key, Seen(CONFIG, url, name="Reviews"))
        self.key = key
        self.service = service
        self.seed = service.current(key, CONFIG).version.name
        self.learned = self.add(LEARNED, origin="rewrite", parent=self.seed)
        self.waiting = self.add(replace(LEARNED, rules=()), origin="compress", parent=self.learned)
        self.foreign = self.add(LEARNED, origin="rewrite", config=OTHER_CONFIG)
        service.store.activate(key, self.learned, expected=self.seed, by="run-1")
        self.save(self.run("run-1", active=self.seed, challenger=self.learned, estimate=ESTIMATE, spend=SPEND))
        later = {"started_at": AT + timedelta(hours=1), "trigger": "forced"}
        self.save(self.run("run-2", challenger=self.waiting, decision="awaiting_approval", **later))

    def run(self, run_id: str, **changes: object) -> RunRecord:
        """One that is done."""
        record = RunRecord(
            id=run_id, project=self.key, state="done", started_at=AT, labels=120, active=self.learned, trigger="labels",
            decision="published", words=("It now says that sarcasm is negative.", "It fixes 6 tasks and breaks 2."),
            fixes=("11", "12"), breaks=("13",), progress=1.0, ended_at=AT + timedelta(minutes=2),
        )  # fmt: skip
        return replace(record, **changes)  # type: ignore[arg-type]

    def save(self, record: RunRecord) -> None:
        self.service.runs.save(record)

    def report(self) -> Report:
        """Of thirty labels, all blind, of which the active version has 24 right; saved as a run saves it."""
        examples = [Example(str(n), {"text": f"secret {n}"}, {"sentiment": ("negative",)}, AT) for n in range(30)]
        said = [("positive" if n < 6 else "negative",) for n in range(30)]
        graded = {one.id: Graded(n >= 6, 1.0, 0.8, {"sentiment": said[n]}) for n, one in enumerate(examples)}
        version, record = self.service.store.active(self.key), self.service.store.project(self.key)
        assert version
        assert record
        judged, schema = Judged(version, graded), self.service.schema(record.config)
        document = build(
            Material(self.key, "Kettles", schema, examples, judged, AT, runs=self.service.runs.runs(self.key))
        )
        self.service.runs.save_report(self.key, dict(document), sections(document))
        return document

    def active(self) -> str:
        version = self.service.store.active(self.key)
        assert version
        return version.name

    def add(self, prompt: Prompt, *, origin: str, parent: str | None = None, config: str = CONFIG) -> str:
        version = PromptVersion.of(
            self.service.store.next_number(self.key), prompt,
            config_hash=self.service.schema(config).config_hash, model=self.service.settings.model_name,
            origin=origin, created_at=AT,
        )  # fmt: skip
        self.service.store.add_version(self.key, replace(version, parent=parent))
        return version.name
