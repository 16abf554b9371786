"""Which project a number means."""

import pytest

from backend.projects import naming as projects
from backend.projects.naming import ConflictError, NotKnownError
from backend.storage.store import ProjectRecord

HERE, THERE = "http://here.test", "http://there.test"


def known(key: str, url: str = HERE, *, gone: bool = False) -> ProjectRecord:
    return ProjectRecord(key, int(key.partition(".")[0]), url, "<View/>", "", gone=gone)


@pytest.mark.parametrize(
    ("records", "given", "means"),
    [
        ([known("1.10"), known("2.10")], "1", "1.10"),
        ([known("1.10"), known("2.10")], "2.10", "2.10"),
        ([known("1.9"), known("1.10")], "1", "1.10"),  # as numbers, not as texts
        ([known("1.10", gone=True), known("1.9", THERE)], "1", "1.9"),
        ([known("1.10", gone=True)], "1", "1.10"),
        ([known("1.10"), known("1.9")], "1.9", "1.9"),
        ([known("1")], "1", "1"),
    ],
)
def test_a_number_means_the_latest_that_is_there(records: list[ProjectRecord], given: str, means: str) -> None:
    assert projects.find(records, given).key == means


def test_of_two_instances_a_key_is_asked_for() -> None:
    records = [known("1.10"), known("1.9", THERE)]
    with pytest.raises(ConflictError, match="2 Label Studio instances have a project 1") as raised:
        projects.find(records, "1")
    assert "1.9 (http://there.test)" in raised.value.hint
    assert [projects.address(records, record) for record in records] == ["1.10", "1.9"]


def test_what_is_not_known_is_an_error() -> None:
    with pytest.raises(NotKnownError, match="'3'"):
        projects.find([known("1.10")], "3")


def test_an_address_is_what_finds_the_project() -> None:
    records = [known("1.9"), known("1.10"), known("2.10", gone=True)]
    assert [projects.address(records, record) for record in records] == ["1.9", "1", "2"]
