# Two images. docs/operating.md has the commands, and compose.yaml several of them together.
#
#   docker build --target server -t grandstand:server .     records, shows, keeps the queue; no PyTorch
#   docker build --target train  -t grandstand:train  .     trains as well (CPU)
#   docker build --target train  -t grandstand:cuda   --build-arg ACCELERATOR=cuda .

ARG PYTHON=3.11

# The wheel, with the page built into it. Node comes and goes with this stage.
FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY scripts scripts
COPY ui ui
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS server
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    TRAINING_METRICS_HOST=0.0.0.0 \
    DATA_STORAGE_PATH=/data
# For `grandstand backup` on PostgreSQL. It dumps servers of its own version and older ones.
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --home-dir /data --shell /usr/sbin/nologin grandstand \
    && install -d -o grandstand -g grandstand /data /backups
COPY --from=build /wheels /wheels
RUN pip install "$(echo /wheels/*.whl)[export,postgres,redis]"
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8000
# Loopback is always an allowed host. A server that starts may have tables to bring up to date.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["grandstand"]
CMD ["serve"]

FROM server AS train
ARG ACCELERATOR=cpu
USER root
# The command that the server itself would install the training part with picks PyTorch's CPU build.
RUN if [ "$ACCELERATOR" = cpu ]; then \
        python -c "from grandstand.launch.runtime import Runtime; print(Runtime().command())" | sh -e; \
    fi \
    && pip install "$(echo /wheels/*.whl)[train,sb3]"
# Numba keeps what it has compiled; workers run as this user.
ENV NUMBA_CACHE_DIR=/tmp/numba
USER 10001:10001
