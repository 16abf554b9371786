"""Commands as a person types them, with nothing but the given settings in the environment."""

import os
from collections.abc import Callable, Mapping

from click.testing import CliRunner, Result

from backend.cli import main
from backend.settings import Settings

Run = Callable[..., Result]


def runner(**settings: str) -> Run:
    """Runs `whetstone ARGUMENTS`; `settings` are environment variables."""
    bare = {name.upper(): None for name in Settings.model_fields}

    def run(*arguments: str, **more: str) -> Result:
        env: Mapping[str, str | None] = {
            **os.environ,
            **bare,
            "COLUMNS": "200",
            "LLM_MODEL": "scripted-1",
            **settings,
            **more,
        }
        return CliRunner().invoke(main, list(arguments), env=env)

    return run
