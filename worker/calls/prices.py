"""What calls to an LLM cost, by the price list that genai-prices keeps."""

import ipaddress
from decimal import Decimal
from urllib.parse import urlsplit

import genai_prices

from backend.labeling.engines.base import Usage


def price_usd(model: str, base_url: str, usage: Usage, *, calls: int = 1) -> float | None:
    """Of `usage` spread evenly over `calls` (a price may rise with a call's length); None where it is unknown.

    An endpoint on this machine costs nothing, unless a provider sells its model by this very name: then it is taken to
    be a proxy to that provider.
    """
    local = _is_local(base_url)
    each = _each(usage, max(1, calls))
    try:
        found = genai_prices.calc_price(each, model, provider_api_url=None if local else base_url)
    except (LookupError, ValueError):
        return 0.0 if local else None
    return float(found.total_price * max(1, calls))


def _each(usage: Usage, calls: int) -> genai_prices.Usage:
    return genai_prices.Usage(
        input_tokens=Decimal(usage.prompt_tokens) / calls,
        cache_read_tokens=Decimal(min(usage.cached_tokens, usage.prompt_tokens)) / calls,
        output_tokens=Decimal(usage.completion_tokens) / calls,
    )


def _is_local(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
