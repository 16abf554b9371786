"""Everything that can go wrong, in one tree. Each class says whether trying again may help and gives a way out."""

from typing import ClassVar

from backend.labeling.engines.base import Spent


class WhetstoneError(Exception):
    """The message names the thing and the value; `hint` is what the operator can do; `exit_code` is the CLI's.

    `of_task` where it lies in the task, in its prompt or in what the LLM made of it: the task fails alone. `spent` is
    what the LLM that failed took for the task until then.
    """

    retryable: ClassVar[bool] = False
    of_task: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    hint: str = ""
    spent: Spent = Spent()

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class SettingsError(WhetstoneError):
    """One line a mistake."""

    exit_code = 2
    hint = "Correct the environment variables named above; docs/reference.md lists them all."


class SchemaError(WhetstoneError):
    """A labeling configuration that cannot be labelled with."""

    exit_code = 2
    hint = "Correct the labeling configuration in Label Studio under Settings > Labeling Interface."


class TaskError(WhetstoneError):
    """A task that cannot be labelled: it fails alone, and its neighbours go on."""

    of_task = True
    hint = "Correct the task's data, or label it by hand."


class EngineError(WhetstoneError):
    """The LLM gave no usable completion."""

    exit_code = 3


class EngineUnreachableError(EngineError):
    """No connection, a timeout, or a 5xx answer."""

    retryable = True
    hint = "Is the LLM server up? OPENAI_BASE_URL must point at it; `whetstone doctor` tries it."


class EngineBusyError(EngineError):
    """429; `retry_after_s` is what the server asked for, None when it did not say."""

    retryable = True
    hint = "Lower LLM_CONCURRENCY, or raise the endpoint's rate limit."

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineRefusedError(EngineError):
    """401, 403, 404 or 400: asking again would be refused again."""

    hint = "Check OPENAI_API_KEY and LLM_MODEL; `whetstone doctor` tries them."


class PromptTooLongError(EngineRefusedError):
    """400 or 413: the prompt with this task does not fit into the model's context. Others may."""

    of_task = True
    hint = "Lower LLM_MAX_TASK_TOKENS, or give the LLM server a larger context."


class ContentFilterError(EngineRefusedError):
    """The endpoint's moderation, or the model itself, declines this task's text. Others may pass."""

    of_task = True
    hint = "Label the task by hand, or use an endpoint whose content filter lets such texts pass."


class EngineAnswerError(EngineError):
    """An answer that is not the protocol's: HTML, truncated JSON, NaN log-probs."""

    retryable = True
    hint = "Is OPENAI_BASE_URL an OpenAI-compatible endpoint (it usually ends in /v1)?"


class EmbeddingError(EngineError):
    """No usable embeddings now. A task is then not labelled: with other demonstrations its label could be another."""

    retryable = True
    hint = "Is the embeddings endpoint up? EMBEDDINGS_BASE_URL must point at it."


class EmbeddingRefusedError(EngineError):
    """Embeddings that asking again would not give."""

    hint = "Check EMBEDDINGS_BASE_URL, EMBEDDINGS_MODEL and EMBEDDINGS_API_KEY; without them local embeddings serve."


class AnswerError(EngineError):
    """A completion outside the label set: reported, never bent to the nearest label."""

    exit_code = 1
    of_task = True
    hint = "The model does not keep to the label set; `whetstone doctor` shows what the endpoint can enforce."


class StoreError(WhetstoneError):
    """Redis cannot be reached or refuses a write."""

    retryable = True
    exit_code = 3
    hint = "Is Redis up? REDIS_URL must point at it; `whetstone doctor` tries it."


class LabelStudioError(WhetstoneError):
    """Label Studio cannot be reached, or refused a call."""

    exit_code = 3
    hint = "Check LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY; `whetstone doctor` tries them."


class BudgetError(WhetstoneError):
    """A cap on calls, tokens or money would be passed."""

    exit_code = 4
    hint = "Raise the budget, or wait for the next month."
