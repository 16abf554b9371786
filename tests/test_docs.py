"""README.md and docs/ are tested: what they name is there, and what is there they name."""

import json
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.app import create_app
from backend.settings import Settings

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "reference.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    section = page.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def found(pattern: str) -> list[str]:
    """In all pages."""
    return [match for page in PAGES for match in re.findall(pattern, page.read_text(), flags=re.DOTALL)]


def anchors(page: Path) -> set[str]:
    """Of the page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shown(value: object) -> str:
    plain = value.get_secret_value() if isinstance(value, SecretStr) else value
    return f"`{plain}`" if plain not in ("", None) else ""


def test_the_settings_table_is_the_settings() -> None:
    expected = [
        [f"`{name.upper()}`", "" if name == "whetstone_home" else shown(field.default), field.description]
        for name, field in Settings.model_fields.items()
    ]
    assert rows(REFERENCE, "Settings") == expected


def test_the_readme_shows_some_of_the_settings_as_they_are() -> None:
    some = rows(README, "Settings")
    assert some == [row for row in rows(REFERENCE, "Settings") if row in some]


def test_every_route_stands_in_the_table_and_no_other(redis_url: str) -> None:
    rules = {rule.rule for rule in create_app(Settings(redis_url=redis_url)).url_map.iter_rules()}
    routes = {re.sub(r"<(\w+)>", lambda place: place[1].upper(), rule) for rule in rules - {"/static/<path:filename>"}}
    named = {path for row in rows(REFERENCE, "Routes") for path in re.findall(r"(?:GET|POST) (/[\w/.]*)", row[0])}
    assert named == routes


def test_every_command_stands_in_the_table_and_no_other() -> None:
    named = {re.findall(r"whetstone (\w+)", row[0])[0] for row in rows(README, "Commands")}
    assert named == {entry.name for entry in entry_points(group="whetstone.commands")}


def test_every_setting_named_exists() -> None:
    other = {"BENCH_DATA", "DEMO_EXIT", "ML_BLOCK_LOCAL_IP", "SSRF_PROTECTION_ENABLED"}
    named = set(found(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`"))
    assert named - other <= {name.upper() for name in Settings.model_fields}


def test_every_package_stands_in_the_table_and_no_other() -> None:
    inits = [path for part in ("backend", "worker") for path in (ROOT / part).glob("*/__init__.py")]
    named = {row[0].strip("`") for row in rows(ARCHITECTURE, "Packages")}
    assert named == {path.parent.relative_to(ROOT).as_posix() for path in inits}


def test_every_file_named_exists() -> None:
    assert all((ROOT / path).exists() for path in found(r"`((?:backend|worker|tests|demo)/[\w/.]+)`"))


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(found(r"`make ([\w-]+)")) <= targets


@pytest.mark.parametrize("block", found(r"```json\n(.*?)```"))
def test_every_json_example_is_json(block: str) -> None:
    assert json.loads(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for name, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page.read_text()):
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


def test_the_readme_links_every_page() -> None:
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= set(re.findall(r"\]\(([^)]+)\)", README.read_text()))
