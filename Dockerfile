# syntax=docker/dockerfile:1
# One image for every part: `whetstone serve` (the default), `whetstone worker`, `whetstone doctor`, ...
# With --build-arg LOCK=local it also carries the local LLM (`whetstone llm`).

FROM python:3.12-slim AS build
ARG LOCK=base
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY requirements/uv.txt requirements/
RUN pip install --no-cache-dir --require-hashes --requirement requirements/uv.txt \
    && uv venv --python /usr/local/bin/python /opt/whetstone
COPY requirements/${LOCK}.txt requirements/
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip sync --require-hashes --python /opt/whetstone/bin/python "requirements/${LOCK}.txt"
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY backend backend
COPY worker worker
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && uv pip install --no-deps --python /opt/whetstone/bin/python /tmp/wheel/*.whl

FROM python:3.12-slim
ARG LOCK=base
# The local LLM's llama.cpp takes the system's OpenMP library, in whatever version this Debian has.
# hadolint ignore=DL3008
RUN if [ "$LOCK" != base ]; then \
        apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*; \
    fi \
    && useradd --uid 10001 --create-home --home-dir /home/whetstone whetstone \
    && install --directory --owner whetstone --group whetstone /data
COPY --from=build /opt/whetstone /opt/whetstone
COPY LICENSE NOTICE /usr/share/doc/whetstone/
ENV PATH=/opt/whetstone/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0 LOG_FORMAT=json WHETSTONE_HOME=/data
USER 10001
WORKDIR /data
EXPOSE 9090
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT', '9090')}/health\", timeout=4)"]
CMD ["whetstone", "serve"]
