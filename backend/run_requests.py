"""Runs that people asked for, in Redis: one a project, kept until it is done, so that a worker that dies takes no limit
on what a run may spend with it."""

from redis import Redis
from redis.client import Pipeline

from backend.redis_client import as_text, project_key, translated
from backend.runs import RunRequest


class RunRequests:
    """Raises `StoreError` only."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    @translated()
    def ask(self, project: str, request: RunRequest) -> None:
        """In place of an earlier one that is not done."""
        self._client.set(_key(project), request.to_json())

    @translated()
    def asked(self, project: str) -> RunRequest | None:
        text = self._client.get(_key(project))
        return None if text is None else RunRequest.from_json(text)

    @translated()
    def done(self, project: str, request: RunRequest) -> None:
        """What was asked for meanwhile stays."""

        def forget(pipe: Pipeline) -> None:
            text = pipe.get(_key(project))
            pipe.multi()
            if text is not None and as_text(text) == request.to_json():
                pipe.delete(_key(project))

        self._client.transaction(forget, _key(project))


def _key(project: str) -> str:
    return project_key(project, "run_request")
