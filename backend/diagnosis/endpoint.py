"""The LLM endpoint: is it there, does it answer, and what was it seen to do?"""

import time
from dataclasses import dataclass

from backend.calls.engine import make_wire
from backend.diagnosis import abilities, trials
from backend.diagnosis.abilities import Found
from backend.diagnosis.check import Check, Section, skipped
from backend.diagnosis.faults import way_out
from backend.labeling.engines import probe
from backend.labeling.engines.wire import Wire
from backend.labeling.errors import EngineError, EngineRefusedError
from backend.settings import Settings

SUBJECT = "LLM"
_ABILITIES = ("log-probs", "constraint", "thinking", "parameters", "context", "prefix cache", "seed", "price")
_SHOWN_MODELS = 5


@dataclass(frozen=True, slots=True)
class _Listing:
    """`models` is None where the endpoint was not reached, or refuses to list any."""

    check: Check
    models: tuple[str, ...] | None

    @property
    def reached(self) -> bool:
        return self.check.status != "failed"


def examine(settings: Settings) -> tuple[Section, Found | None]:
    """What was found is None for an endpoint that cannot label."""
    wire = make_wire(settings)
    listing = _list(wire, settings)
    if not listing.reached:
        rest = skipped(("model", "answer", *_ABILITIES), "the endpoint was not reached")
        return Section(SUBJECT, (listing.check, *rest)), None
    model = _model(listing, settings)
    if model.status == "failed":
        return Section(SUBJECT, (listing.check, model, *skipped(("answer", *_ABILITIES), "no model to try"))), None
    answer, found = _answer(wire, settings)
    if found is None:
        rest = skipped(_ABILITIES, "the model gave no answer")
        return Section(SUBJECT, (listing.check, model, answer, *rest)), None
    tried = (trials.prefix_cache(found, settings), trials.seed(found, settings))
    seen = abilities.checks(found.able, settings)
    price = abilities.price(found.model, settings)
    return Section(SUBJECT, (listing.check, model, answer, *seen, *tried, price)), found if _ok(answer) else None


def _ok(check: Check) -> bool:
    return check.status == "ok"


def _list(wire: Wire, settings: Settings) -> _Listing:
    began = time.monotonic()
    try:
        models = probe.models(wire)
    except EngineRefusedError as error:
        return _Listing(Check("address", "ok", f"{wire.base_url} answers, but lists no models: {error}"), None)
    except EngineError as error:
        return _Listing(Check("address", "failed", str(error), way_out(error, settings), needed=True), None)
    found = f"{wire.base_url} answers in {_milliseconds(began)}"
    return _Listing(Check("address", "ok", found, needed=True), models)


def _model(listing: _Listing, settings: Settings) -> Check:
    """A name that is not listed may do all the same: some endpoints take any, some do not list them all."""
    wanted, listed = settings.llm_model, listing.models or ()
    if not wanted and not listed:
        return Check("model", "failed", "the endpoint lists none", "Set LLM_MODEL.", needed=True)
    if not listed:
        return Check("model", "ok", f"{wanted}; the endpoint lists none to compare with", needed=True)
    if not wanted and len(listed) > 1:
        found = f"{listed[0]}, the first of {len(listed)} listed: {_some(listed)}"
        return Check("model", "warning", found, "Set LLM_MODEL to the one you mean.", needed=True)
    if wanted and wanted not in listed:
        found = f"{wanted} is not among the {len(listed)} listed: {_some(listed)}"
        return Check("model", "warning", found, "Set LLM_MODEL to one of them, unless the next row is fine.")
    return Check("model", "ok", f"{wanted or listed[0]}, of {len(listed)} listed", needed=True)


def _answer(wire: Wire, settings: Settings) -> tuple[Check, Found | None]:
    """On the route that the prompt's style takes."""
    style = settings.prompt_style
    route = "a chat turn" if style == "chat" else "a plain completion"
    try:
        model = settings.llm_model or probe.first_model(wire)
        found = Found(wire, model, probe.capabilities(wire, model))
    except EngineError as error:
        return Check("answer", "failed", str(error), way_out(error, settings), needed=True), None
    began = time.monotonic()
    try:
        probe.ask(wire, model, trials.short(trials.GREETING, found.able, settings), found.able)
    except EngineError as error:
        other = "text" if style == "chat" else "chat"
        hint = f"Set LLM_PROMPT_STYLE={other}." if isinstance(error, EngineRefusedError) else way_out(error, settings)
        return Check("answer", "failed", f"{route}: {error}", hint, needed=True), found
    return Check("answer", "ok", f"{route} in {_milliseconds(began)}", needed=True), found


def _some(models: tuple[str, ...]) -> str:
    return ", ".join(models[:_SHOWN_MODELS]) + (", …" if len(models) > _SHOWN_MODELS else "")


def _milliseconds(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"
