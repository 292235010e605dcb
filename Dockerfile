# docker build -t stylizer . && docker run --rm -p 8050:8050 --read-only --tmpfs /tmp stylizer
# Serves on a CPU, without torch. $PORT is where Cloud Run wants it. tests/test_container.py carries these lines out.
#
# Base images are named by their full version. To hold the very bytes, write the digest behind it, as
# `docker buildx imagetools inspect python:3.13.7-slim-bookworm` prints it: python:3.13.7-slim-bookworm@sha256:...
FROM node:22.19.0-bookworm-slim AS browser
WORKDIR /browser
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund
RUN rm node_modules/onnxruntime-web/dist/*.jsep.*

FROM python:3.13.7-slim-bookworm AS python

FROM python AS wheel
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY requirements-build.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY stylizer stylizer
COPY models models
COPY styles styles
COPY assets assets
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /wheel .

FROM python AS environment
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN python -m venv --without-pip /venv
COPY requirements.lock ./
RUN pip --python /venv/bin/python install --require-hashes --only-binary :all: -r requirements.lock
COPY --from=wheel /wheel /wheel
RUN pip --python /venv/bin/python install --no-deps --no-index /wheel/*.whl

FROM python
RUN useradd --system --uid 10001 --no-create-home stylizer
COPY --from=environment /venv /venv
WORKDIR /app
COPY --from=browser /browser/node_modules/onnxruntime-web/dist/*.min.mjs /browser/
COPY --from=browser /browser/node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded* /browser/
COPY app.py gunicorn.conf.py ./
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=8050 STYLIZER_BROWSER_RUNTIME=/browser
# What a painting took goes back to the system: glibc would keep it, 668 MB in place of 251 after eight large photos.
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=1048576 MALLOC_TRIM_THRESHOLD_=1048576
USER 10001
EXPOSE 8050
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/readyz', timeout=4)"]
CMD ["gunicorn", "--config", "gunicorn.conf.py", "app:server"]
