"""Which names the service goes by: what a browser sends for any other is no request of its people."""

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from backend.settings import Settings


def may_send(origin: str, host: str, settings: Settings) -> bool:
    """Whether a page of this origin, as browsers write it, may change something here. `host`: the Host header."""
    own = {_place(settings.backend_url)} | ({host.lower()} if is_own(host, settings) else set())
    return _place(origin) in own


def is_own(host: str, settings: Settings) -> bool:
    """Whether no stranger can have given the service this name. One who owns a domain can point it here, and his page
    is then of the same site: against that stands a password, which a browser keeps for the name it was typed for.

    Own are HOST, PUBLIC_URL's, names without a dot, localhost's and, because no DNS is asked for them, IP addresses.
    """
    name = _name(f"//{host}")
    if settings.basic_auth_user or name in {settings.host.lower(), _name(settings.backend_url)}:
        return True
    return bool(name) and ("." not in name or name.endswith(".localhost") or _is_ip_address(name))


def _place(url: str) -> str:
    """Host and port, as a Host header has them."""
    return _split(url).netloc.rpartition("@")[2].lower()


def _name(url: str) -> str:
    return _split(url).hostname or ""


def _split(url: str) -> SplitResult:
    """Empty for what is no address."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _is_ip_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
