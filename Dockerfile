# Two images from one wheel: `app` (web, control, tick: no PyTorch) and `train` (app and all that trains).
#   docker build --target app   -t prefloop:app .
#   docker build --target train -t prefloop:train [--build-arg TORCH_INDEX=...] .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md ./
COPY app app
COPY workers workers
COPY migrations migrations
COPY templates templates
COPY static static
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:${PYTHON}-slim AS app
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PREFLOOP_HOME=/data PREFLOOP_HOST=0.0.0.0
RUN groupadd --gid 10001 prefloop \
 && useradd --uid 10001 --gid prefloop --home-dir /data --create-home prefloop
COPY constraints.txt /opt/prefloop/
COPY --from=wheel /wheel /opt/prefloop/wheel
RUN pip install --constraint /opt/prefloop/constraints.txt "$(echo /opt/prefloop/wheel/*.whl)[data]"
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
CMD ["uvicorn", "app.main:create_app", "--factory", "--host=0.0.0.0", "--port=8000", "--no-access-log", "--log-level=warning", "--timeout-graceful-shutdown=3", "--timeout-keep-alive=75", "--timeout-worker-healthcheck=60"]

FROM app AS train
ARG TORCH_INDEX=""
USER 0
RUN if [ -n "$TORCH_INDEX" ]; then \
      pip install --constraint /opt/prefloop/constraints.txt --no-deps --index-url "$TORCH_INDEX" torch; \
    fi \
 && pip install --constraint /opt/prefloop/constraints.txt "$(echo /opt/prefloop/wheel/*.whl)[train,s3]"
USER 10001
CMD ["celery", "--quiet", "--app=workers.tasks", "worker", "--hostname=trainer@%h", "--queues=sampling,reward,policy", "--pool=solo"]
