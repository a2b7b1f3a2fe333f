# One image for every job: preparation nodes, training nodes and generation. Not root; CPU or CUDA by build argument.
#
#   docker build -t audio2head .                                            CUDA: the build of torch that PyPI carries
#   docker build -t audio2head:cpu --build-arg TORCH_INDEX=<index> .        CPU: the index that PyTorch's own page names for CPU builds
#   docker run --rm -v "$PWD/data:/data" audio2head demo out=/data/demo
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG TORCH_INDEX=""
WORKDIR /src
RUN python -m venv /opt/a2h
ENV PATH=/opt/a2h/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock.txt .
# The lock installs without dependencies; torch again with them: a CUDA build brings libraries that the lock cannot name.
RUN if [ -n "$TORCH_INDEX" ]; then pip install --no-deps --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.lock.txt)"; fi \
 && pip install --no-deps -r requirements.lock.txt \
 && pip install "$(grep '^torch==' requirements.lock.txt)" -c requirements.lock.txt
COPY pyproject.toml README.md LICENSE ./
COPY a2h_models a2h_models
COPY pipelines pipelines
COPY conf conf
RUN pip install --no-deps --no-build-isolation .

FROM python:${PYTHON}-slim
RUN useradd --create-home --uid 1000 a2h && mkdir /data && chown a2h /data
COPY --from=build /opt/a2h /opt/a2h
ENV PATH=/opt/a2h/bin:$PATH \
    OMP_WAIT_POLICY=PASSIVE \
    MLFLOW_DISABLE_TELEMETRY=true \
    RAY_AUTH_MODE=disabled \
    RAY_USAGE_STATS_ENABLED=0 \
    XDG_CACHE_HOME=/data/.cache \
    MPLCONFIGDIR=/data/.cache/matplotlib \
    NUMBA_CACHE_DIR=/data/.cache/numba
USER a2h
WORKDIR /data
ENTRYPOINT ["a2h"]
CMD ["--help"]
