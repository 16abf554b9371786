"""`whetstone connect`: the service becomes a project's model."""

import json
from dataclasses import replace

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend import logs
from backend import settings as environment
from backend.label_studio import BasicAuth, LabelStudioClient
from backend.projects import connection, rationale_area
from backend.projects.connection import ConnectReport, State
from backend.settings import Settings

_COLOURS: dict[State, str] = {"done": "green", "already": "dim", "repaired": "yellow", "failed": "bold red"}


@click.command()
@click.argument("project_id", type=click.IntRange(min=1))
@click.option("--backend-url", help="The service's address as Label Studio sees it.  [default: PUBLIC_URL]")
@click.option("--with-rationale", is_flag=True, help="Add a TextArea for reasons to the labeling configuration.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def connect(project_id: int, *, backend_url: str | None, with_rationale: bool, as_json: bool) -> None:
    """Make the service the model of Label Studio project PROJECT_ID, or repair that.

    Registers the service as the project's backend under the name of its active prompt version, registers the webhook
    with its secret, and has predictions shown. Says of each step whether it was done, already so, repaired, or failed
    and what to do. Running it again changes nothing. With --with-rationale the labeling configuration gets a TextArea,
    named by RATIONALE_CONTROL, in which annotators see the reason for a label and may correct it; prompt versions and
    annotations stay as they are.

    Needs LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, and a running service. BASIC_AUTH_USER, BASIC_AUTH_PASS and
    WEBHOOK_SECRET must be those the service has.

    Exit codes: 0 connected, 1 a step failed, 2 wrong usage or settings, 3 Label Studio or the service unreachable.
    """
    settings = environment.load()
    logs.configure(settings)
    auth = _basic_auth(settings)
    client = LabelStudioClient(settings.label_studio_url, settings.label_studio_api_key.get_secret_value())
    project = client.project(project_id)
    url = (backend_url or settings.backend_url).rstrip("/")
    report = connection.connect(
        client,
        project,
        backend_url=url,
        version=connection.active_version(url, project, label_studio_url=client.url, auth=auth),
        basic_auth=auth,
        webhook_secret=settings.webhook_secret.get_secret_value(),
    )
    shown = rationale_area.ensure(client, project, settings, add=with_rationale)
    report = replace(report, steps=(*report.steps, shown)) if shown else report
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        _print(report)
    raise SystemExit(0 if report.ok else 1)


def _basic_auth(settings: Settings) -> BasicAuth | None:
    if not settings.basic_auth_user:
        return None
    return BasicAuth(settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())


def _print(report: ConnectReport) -> None:
    table = Table(title=Text(f"Project {report.project_id}, {report.project_title}: version {report.version}"))
    for column in ("step", "", "detail"):
        table.add_column(column, overflow="fold")
    for step in report.steps:
        table.add_row(step.name, Text(step.state, style=_COLOURS[step.state]), Text(step.detail))
    Console().print(table)
