import pytest

from backend.settings import Settings
from backend.web import addresses

BASIC = {"basic_auth_user": "ann", "basic_auth_pass": "secret"}


def configured(**changes: str) -> Settings:
    return Settings(**{"host": "127.0.0.1", "port": 9090, "public_url": "", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "settings", "own"),
    [
        ("localhost:9090", {}, True),
        ("LOCALHOST", {}, True),
        ("whetstone.localhost:9090", {}, True),
        ("127.0.0.1:9090", {}, True),
        ("[::1]:9090", {}, True),
        ("192.168.1.5:9090", {}, True),
        ("8.8.8.8", {}, True),
        ("whetstone:9090", {}, True),
        ("evil.example:9090", {}, False),
        ("localhost.evil.example", {}, False),
        ("127.0.0.1.evil.example", {}, False),
        ("evil.example@localhost:9090", {}, True),
        ("localhost@evil.example:9090", {}, False),
        ("[::1", {}, False),
        ("", {}, False),
        ("label.example.com", {}, False),
        ("label.example.com", {"public_url": "https://Label.example.com/whetstone"}, True),
        ("label.example.com:9090", {"public_url": "https://user:word@label.example.com"}, True),
        ("gpu.example.com:9090", {"host": "GPU.example.com"}, True),
        ("evil.example:9090", {"webhook_secret": "x"}, False),
        ("evil.example:9090", BASIC, True),
    ],
)
def test_a_name_that_a_stranger_may_have_given_is_not_ones_own(host: str, settings: dict[str, str], own: bool) -> None:
    assert addresses.is_own(host, configured(**settings)) is own


@pytest.mark.parametrize(
    ("origin", "host", "settings", "allowed"),
    [
        ("http://localhost:9090", "localhost:9090", {}, True),
        ("http://192.168.1.5:9090", "192.168.1.5:9090", {}, True),
        ("https://label.example.com", "label.example.com", BASIC, True),
        ("https://label.example.com", "backend:9090", {"public_url": "https://u:p@label.example.com"}, True),
        ("http://localhost:9090", "backend:9090", {}, True),
        ("http://localhost:8080", "localhost:9090", {}, False),
        ("http://evil.example", "localhost:9090", BASIC, False),
        ("http://evil.example:9090", "evil.example:9090", {}, False),
        ("null", "localhost:9090", {}, False),
        ("http://[", "localhost:9090", {}, False),
    ],
)
def test_only_a_page_of_the_service_may_change_something(
    origin: str, host: str, settings: dict[str, str], allowed: bool
) -> None:
    assert addresses.may_send(origin, host, configured(**settings)) is allowed
