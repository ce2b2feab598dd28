# The service of one model, its page included: docs/service.md says how to run it.
#   docker build -t lookonce .
FROM python:3.12-slim AS build
WORKDIR /build
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/lookonce \
    && /opt/lookonce/bin/python -m pip install --no-cache-dir --disable-pip-version-check -c constraints.txt .

FROM python:3.12-slim
LABEL org.opencontainers.image.title="lookonce" \
      org.opencontainers.image.description="Object detection as a service: a REST API and a page for one model" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/lookonce /opt/lookonce
# Azure names the registered model's folder itself; elsewhere it is what is mounted here. ONNX Runtime is not to
# tell its maker about models.
ENV AZUREML_MODEL_DIR=/model \
    PATH=/opt/lookonce/bin:$PATH \
    HOME=/tmp \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8080
# Not urllib.request: it would ask a proxy that the container is told to use.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from http.client import HTTPConnection as H; c = H('127.0.0.1', 8080, timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
# It refuses to start without a key in WEBSERVICE_KEY. Further options go behind the image's name: --workers 2
ENTRYPOINT ["lookonce", "serve", "--host", "0.0.0.0", "--port", "8080", "--log", "json"]
