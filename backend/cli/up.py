"""`whetstone up`: all of it on this machine."""

import click

from backend import logs
from backend.settings import Settings, load
from backend.stack import Stack
from backend.stack.signals import interrupt_on_sigterm


@click.command()
def up() -> None:
    """Start Redis, the local LLM, the service and two workers on this machine, until Ctrl-C.

    Redis is started only if REDIS_URL is empty, and keeps its data under WHETSTONE_HOME. The local LLM is started only
    if neither OPENAI_BASE_URL nor OPENAI_API_KEY is set. What dies is started again. Ctrl-C or SIGTERM lets what is
    under way finish first; a second Ctrl-C does not.

    \b
    Settings: PORT, REDIS_URL, OPENAI_BASE_URL, OPENAI_API_KEY, LLM_MODEL, LOCAL_MODEL, WHETSTONE_HOME, LOG_LEVEL.
    Example:  LABEL_STUDIO_URL=http://localhost:8080 LABEL_STUDIO_API_KEY=... whetstone up
    """
    settings = load()
    logs.configure(settings)
    interrupt_on_sigterm()
    try:
        with Stack(settings, on_progress=lambda name: click.echo(f"waiting for {name}", err=True)) as stack:
            _announce(stack, settings)
            stack.wait()
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


def _announce(stack: Stack, settings: Settings) -> None:
    llm = f"{settings.local_model} at {settings.llm_base_url}" if settings.uses_local_llm else settings.llm_base_url
    click.echo(f"Service  {stack.backend_url}   for Label Studio: Settings > Model, or `whetstone connect PROJECT_ID`")
    click.echo(f"Pages    {stack.backend_url}/   projects, runs under way, reports, prompts")
    click.echo(f"LLM      {llm}")
    if not settings.redis_url:
        click.echo(f"Redis    {stack.redis_url}   its data in {settings.whetstone_home / 'redis'}")
        if stack.redis_url != settings.redis_address:
            click.echo(f"         for other commands: export REDIS_URL={stack.redis_url}")
    click.echo("Ctrl-C stops all of it.")
