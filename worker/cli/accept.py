"""`whetstone accept`: what need not be looked at, with a promise of how right it is."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from backend.cli.output import open_service, print_json, say
from backend.label_studio import LabelStudioClient
from backend.labeling.errors import WhetstoneError
from backend.projects import catalog, pushing
from backend.projects.pushing import Target
from backend.service import Service
from worker.acceptance import acceptable, accepting
from worker.acceptance.accepting import Found, OpenTask
from worker.acceptance.certificate_text import words
from worker.acceptance.certify import Certificate, certify

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


class NotWrittenError(WhetstoneError):
    """The file cannot be written."""

    hint = "Name a file in a folder that is there and may be written to."


@click.command()
@click.argument("project")
@click.option("--target", type=_SHARE, required=True, help="Share of the accepted tasks that is to be right: 0.95.")
@click.option("--sure", type=_SHARE, default=0.9, show_default=True, help="How certain that is to be.")
@click.option(
    "--export",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the accepted labels: a .jsonl or .csv file.",
)
@click.option("--tab", is_flag=True, help="Make a tab in Label Studio that shows the accepted tasks.")
@click.option("--annotate", is_flag=True, help="Turn the accepted predictions into annotations, after a question.")
@click.option("--yes", is_flag=True, help="With --annotate: do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the certificate as JSON.")
def accept(
    project: str,
    *,
    target: float,
    sure: float,
    export: Path | None,
    tab: bool,
    annotate: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Find the open tasks whose labels may be accepted without looking.

    From a score on that is as low as can be, at least the target share of labels is right, with the certainty asked
    for. This is tested on labels of tasks drawn by lot (AUDIT_SHARE) that had no part in making the active prompt. No
    LLM is asked, and nothing is changed unless --export, --tab or --annotate says so.

    With --annotate the tasks drawn by lot stay for people, and Whetstone does not learn from what was accepted.

    PROJECT is Label Studio's number of the project, or its key. Needs LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY and Redis.

    Exit codes: 0 done, 1 the target cannot be promised yet (nothing is accepted), 3 something unreachable.

    \b
    Examples:
      whetstone accept 12 --target 0.95
      whetstone accept 12 --target 0.95 --export sure.csv --tab
    """
    if export and export.suffix not in (".jsonl", ".csv"):
        raise click.UsageError(f"--export {export}: its name must end in .jsonl or .csv")
    if annotate and as_json and not yes:
        raise click.UsageError("--annotate asks before it writes: with --json add --yes")
    service = open_service()
    client = pushing.make_client(service.settings)
    record = catalog.project(service, project)
    to = pushing.target(service, client, record.numeric_id, key=record.key)
    found = accepting.look(service, client, to)
    certificate = certify(found.pool.evidence, target=target, sure=sure)
    if not as_json:
        say("\n".join([*acceptable.about(found.pool), words(certificate)]))
    wanted = _Wanted(export, tab, annotate, yes)
    done = _carry_out(service, client, to, found, certificate, wanted) if certificate.threshold is not None else {}
    _print(found, certificate, done, as_json=as_json)
    raise SystemExit(0 if certificate.threshold is not None else 1)


@dataclass(frozen=True, slots=True)
class _Wanted:
    export: Path | None
    tab: bool
    annotate: bool
    yes: bool


def _carry_out(
    service: Service, client: LabelStudioClient, to: Target, found: Found, certificate: Certificate, wanted: _Wanted
) -> dict[str, Any]:
    """What was done, by option."""
    accepted, done = found.accepted(certificate), dict[str, Any]()
    if wanted.export:
        _write(wanted.export, accepted, to)
        done["export"] = str(wanted.export)
    if wanted.tab:
        done["tab"] = accepting.put_tab(service, client, to, certificate)
    if wanted.annotate:
        ids = accepting.annotatable(service, to, accepted)
        _confirm(ids, len(accepted), yes=wanted.yes)
        done["annotated"] = accepting.annotate(client, to, ids)
    return done


def _write(path: Path, tasks: Sequence[OpenTask], to: Target) -> None:
    """Whole or not at all: what stood there before stays until then."""
    rows = list(accepting.rows(tasks, to.current.version.name))
    controls = [control.name for control in to.current.schema.controls]
    text = (
        _csv(rows, controls)
        if path.suffix == ".csv"
        else "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    )
    unfinished = path.with_name(f"{path.name}.part")
    try:
        unfinished.write_text(text, encoding="utf-8", newline="")
        unfinished.replace(path)
    except OSError as error:
        raise NotWrittenError(f"{path} cannot be written: {error.strerror}") from None


def _csv(rows: Sequence[Mapping[str, Any]], controls: Sequence[str]) -> str:
    """A column a control; where it has not exactly one label, they are a JSON list."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["task", *controls, "score", "version"])
    for row in rows:
        labels = [row["labels"][control] for control in controls]
        cells = [each[0] if len(each) == 1 else json.dumps(each, ensure_ascii=False) for each in labels]
        writer.writerow([row["task"], *cells, row["score"], row["version"]])
    return out.getvalue()


def _confirm(ids: list[int], accepted: int, *, yes: bool) -> None:
    """Ends the command where the answer is no."""
    kept = f"; {accepted - len(ids):,} drawn by lot stay for people" if accepted > len(ids) else ""
    if not yes:
        click.confirm(f"Turn the predictions of {len(ids):,} tasks into annotations{kept}?", abort=True)


def _print(found: Found, certificate: Certificate, done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({
            "version": found.pool.version,
            "calibrated_on": found.pool.calibrated_on,
            "about": list(acceptable.about(found.pool)),
            "certificate": acceptable.as_json(certificate),
            **done,
        })  # fmt: skip
        return
    said = {
        "export": "Written to {}.",
        "tab": 'In Label Studio the tab "{}" shows them. Make it anew when another prompt is active.',
        "annotated": "{} predictions are annotations now; Whetstone does not learn from them.",
    }
    for what, value in done.items():
        say(said[what].format(value))
