"""`whetstone report`: how well a project is labelled, by which version, with how many labels."""

import click
from rich.console import Console

from backend.cli.output import open_service, print_json
from backend.projects import catalog
from backend.projects.naming import NotKnownError
from worker.report import text as report_text


@click.command()
@click.argument("project")
@click.option("--json", "as_json", is_flag=True, help="Print the whole document as JSON, as the API does.")
@click.option("--markdown", is_flag=True, help="Print it as Markdown, to paste into a ticket or a wiki.")
def report(project: str, *, as_json: bool, markdown: bool) -> None:
    """Show how well a project is labelled: by version, by label, by number of labels.

    Accuracy with its interval, on labels that did not choose the version; precision, recall and F1 a label; the
    confusion matrix with the tasks of each cell; calibration error; how many predictions annotators accepted; figures
    for blind and prefilled labels apart; what was spent. It is as of the project's last run.

    PROJECT is Label Studio's number of the project, or its key.

    \b
    Examples:
      whetstone report 12
      whetstone report 12 --json | jq .words
    """
    if as_json and markdown:
        raise click.UsageError("--json and --markdown exclude each other")
    service = open_service()
    record = catalog.project(service, project)
    document = service.runs.report(record.key)
    if document is None:
        raise NotKnownError(
            f"project {record.numeric_id} has no report yet: it is made by the first run",
            hint=f"Annotate some tasks, then `whetstone optimize {record.numeric_id}`.",
        )
    if as_json:
        print_json(document)
    elif markdown:
        click.echo(report_text.markdown(document))
    else:
        Console().print(report_text.text(document))
