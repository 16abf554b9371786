"""The command line's group. Commands join it as entry points of the group `whetstone.commands`."""

import ast
import importlib.util
import json
import logging
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import click

from backend.labeling.errors import WhetstoneError

GROUP = "whetstone.commands"

_JSON = f"{__name__}.json"
_CLICKS_OWN = (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError)
_log = logging.getLogger(__name__)


class CommandError(WhetstoneError):
    """A command that cannot be loaded."""

    hint = "Install what is locked: uv pip sync requirements/local.txt, then uv pip install --no-deps -e ."


class Commands(click.Group):
    """Loads a command only to run it, and ends every error in one line, a way out and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return sorted(_entries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = _entries().get(cmd_name)
        return None if entry is None else _load(entry)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        rows = [(name, _summary(entry)) for name, entry in sorted(_entries().items())]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except _CLICKS_OWN:
            raise
        except WhetstoneError as error:
            _report(ctx, error)
            ctx.exit(error.exit_code)
        except Exception as error:  # noqa: BLE001  the last boundary: whoever types a command gets no traceback
            defect = WhetstoneError(
                f"{type(error).__name__}: {error}", hint="This is a defect of Whetstone; LOG_LEVEL=DEBUG shows where."
            )
            defect.__cause__ = error
            _report(ctx, defect)
            ctx.exit(defect.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="whetstone", prog_name="whetstone")
def main() -> None:
    """Label Studio tasks, labelled by an LLM whose prompt sharpens itself as people annotate.

    Begin with `whetstone up`, which starts everything on this machine, then `whetstone connect`. Settings come from the
    environment; docs/reference.md lists them.

    Exit codes: 0 done, 1 a check failed, 2 wrong usage or settings, 3 something cannot be reached, 4 over the budget.
    """


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except ModuleNotFoundError as error:
        raise CommandError(f"`whetstone {entry.name}` needs the package {error.name!r}") from error
    except (ImportError, AttributeError) as error:
        raise CommandError(f"`whetstone {entry.name}` cannot be loaded from {entry.value}: {error}") from error
    if not isinstance(command, click.Command):
        raise CommandError(f"`whetstone {entry.name}`: {entry.value} is no click command")
    return command


def _summary(entry: EntryPoint) -> str:
    """The first sentence of the command's docstring, read without importing what the command imports."""
    try:
        spec = importlib.util.find_spec(entry.module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        return f"(broken: there is no module {entry.module})"
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry.attr]
    text = (ast.get_docstring(functions[0]) if functions else None) or ast.get_docstring(tree) or ""
    return " ".join(text.split("\n\n")[0].split()).partition(". ")[0].removesuffix(".")


def _report(ctx: click.Context, error: WhetstoneError) -> None:
    """Words on stderr, or with --json one object on stdout."""
    _log.debug("the command failed", exc_info=error)
    if ctx.meta[_JSON]:
        click.echo(json.dumps({"error": str(error), "hint": error.hint, "exit_code": error.exit_code}))
        return
    for line in str(error).splitlines():
        click.echo(f"{click.style('error:', fg='red')} {line}", err=True)
    if error.hint:
        click.echo(f"{click.style('hint:', fg='yellow')} {error.hint}", err=True)
