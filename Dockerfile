# docker build -t stylizer . && docker run --rm -p 8050:8050 --read-only --tmpfs /tmp stylizer
# Serves on a CPU, without torch. $PORT is where Cloud Run wants it.
FROM node:22-slim AS browser
WORKDIR /browser
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && rm node_modules/onnxruntime-web/dist/*.jsep.*

FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml README.md LICENSE ./
COPY stylizer stylizer
COPY models models
COPY styles styles
COPY assets assets
RUN pip install .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home stylizer
COPY --from=build /venv /venv
WORKDIR /app
COPY --from=browser /browser/node_modules/onnxruntime-web/dist/*.min.mjs /browser/
COPY --from=browser /browser/node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded* /browser/
COPY app.py gunicorn.conf.py ./
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=8050 STYLIZER_BROWSER_RUNTIME=/browser
USER 10001
EXPOSE 8050
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/readyz', timeout=4)"]
CMD ["gunicorn", "--config", "gunicorn.conf.py", "app:server"]
