from pathlib import Path

import pytest

from demo.label_studio_environment import LabelStudioEnvironment, LabelStudioServerError, settings


def test_stray_variables_do_not_reach_label_studio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HOST", "PORT", "DEBUG", "CI", "PASSWORD", "LABEL_STUDIO_API_KEY", "DJANGO_DB"):
        monkeypatch.setenv(name, "stray")
    given = settings(tmp_path)
    assert "stray" not in given.values()
    assert given["LABEL_STUDIO_BASE_DATA_DIR"] == str(tmp_path)


def test_an_installation_that_fails_shows_its_log(tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\necho no such index >&2\nexit 2\n")
    uv.chmod(0o755)
    environment = LabelStudioEnvironment(tmp_path / "home", uv=uv)
    told: list[str] = []
    with pytest.raises(LabelStudioServerError, match="no such index") as raised:
        environment.prepare(told.append)
    assert str(environment.log) in str(raised.value)
    assert told == ["Installing Label Studio (800 MB, once)"]


def test_another_lock_file_means_another_database(tmp_path: Path) -> None:
    databases = set()
    for number in range(2):
        lock_file = tmp_path / f"{number}.txt"
        lock_file.write_text(f"label-studio==1.23.{number}\n")
        databases.add(LabelStudioEnvironment(tmp_path, lock_file=lock_file).empty_database)
    assert len(databases) == 2
