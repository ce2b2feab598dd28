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
# Azure names the registered model's folder itself; elsewhere it is what is mounted here.
ENV AZUREML_MODEL_DIR=/model \
    PATH=/opt/lookonce/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
# It refuses to start without a key in WEBSERVICE_KEY. Further options go behind the image's name: --workers 2
ENTRYPOINT ["lookonce", "serve", "--host", "0.0.0.0", "--port", "8080", "--log", "json"]
