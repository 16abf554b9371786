"""The way out of an engine's errors, for somebody who is running the doctor already."""

from backend.labeling.errors import (
    AnswerError,
    EngineBusyError,
    EngineError,
    EngineRefusedError,
    EngineUnreachableError,
)
from backend.settings import Settings

WOULD_SAY_SOMETHING_ELSE = (
    "The model would rather answer something else: a stronger model, another LLM_PROMPT_STYLE or INSTRUCTION."
)


def way_out(error: EngineError, settings: Settings) -> str:
    match error:
        case EngineUnreachableError() if settings.uses_local_llm:
            return "Start the local LLM with `whetstone up` (or `whetstone llm` alone), or set OPENAI_BASE_URL."
        case EngineUnreachableError():
            return "Is the LLM server up? OPENAI_BASE_URL must point at it; LLM_TIMEOUT_S is how long a call may take."
        case EngineRefusedError() if not error.of_task:
            return "Correct OPENAI_API_KEY or LLM_MODEL, whichever the refusal names."
        case EngineBusyError():
            return "Wait and try again, or raise the endpoint's rate limit."
        case AnswerError():
            return WOULD_SAY_SOMETHING_ELSE
        case _:
            return error.hint
