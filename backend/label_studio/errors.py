"""The two ways in which a call to Label Studio fails: trying again may help, or it will not."""

from http import HTTPStatus
from typing import ClassVar

from backend.labeling.errors import LabelStudioError


class LabelStudioDownError(LabelStudioError):
    """No connection, a timeout, 429 or a 5xx answer. A write that timed out may have been carried out all the same."""

    retryable: ClassVar[bool] = True
    hint = "Is Label Studio up? LABEL_STUDIO_URL must point at it; `whetstone doctor` tries it."


class LabelStudioRefusedError(LabelStudioError):
    """An answer that would be the same again. `detail` is Label Studio's own reason, `status` 0 without an answer."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, status: int = 0, detail: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.detail = detail

    @property
    def blocks_private_address(self) -> bool:
        """Label Studio's guard against loopback and private networks, not a missing permission, which is 403 too."""
        return self.status == HTTPStatus.FORBIDDEN and "network address" in self.detail
