"""README.md is tested: what it names is there, and what is there it names."""

import json
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.app import create_app
from backend.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def shown(value: object) -> str:
    plain = value.get_secret_value() if isinstance(value, SecretStr) else value
    return f"`{plain}`" if plain not in ("", None) else ""


def test_the_settings_table_is_the_settings() -> None:
    expected = [
        [f"`{name.upper()}`", "" if name == "whetstone_home" else shown(field.default), field.description]
        for name, field in Settings.model_fields.items()
    ]
    assert rows("Settings") == expected


def test_every_route_stands_in_the_table_and_no_other(redis_url: str) -> None:
    rules = {rule.rule for rule in create_app(Settings(redis_url=redis_url)).url_map.iter_rules()}
    routes = {re.sub(r"<(\w+)>", lambda place: place[1].upper(), rule) for rule in rules - {"/static/<path:filename>"}}
    named = {path for row in rows("Routes") for path in re.findall(r"(?:GET|POST) (/[\w/.]*)", row[0])}
    assert named == routes


def test_every_command_stands_in_the_table_and_no_other() -> None:
    named = {re.findall(r"whetstone (\w+)", row[0])[0] for row in rows("Commands")}
    assert named == {entry.name for entry in entry_points(group="whetstone.commands")}


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make (\w+)`", README)) <= targets


@pytest.mark.parametrize("block", re.findall(r"```json\n(.*?)```", README, flags=re.DOTALL))
def test_every_json_example_is_json(block: str) -> None:
    assert json.loads(block)


@pytest.mark.parametrize("name", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_every_file_linked_is_there(name: str) -> None:
    assert (ROOT / name).exists()
