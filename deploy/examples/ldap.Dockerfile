# sendit's image with what signing in over LDAP needs: python-ldap, which comes as C sources only,
# and the libraries that it was built for. Built by deploy/examples/ldap.yaml, after sendit's own.

ARG BASE=apache/airflow:3.3.2-python3.12

FROM ${BASE} AS builder
# hadolint ignore=DL3002
USER root
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libldap2-dev libsasl2-dev \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_USER=0 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_SYSTEM_CERTS=1 UV_NO_CACHE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY requirements-uv.txt ./
RUN python3.12 -m venv /build/uv \
    && /build/uv/bin/python -m pip install --require-hashes -r requirements-uv.txt
COPY deploy/requirements.txt deploy/
COPY deploy/examples/ldap-requirements.txt deploy/examples/
RUN /build/uv/bin/uv pip install --python python3.12 --target /build/ldap --compile-bytecode --no-deps \
        --require-hashes --build-constraints deploy/requirements.txt -r deploy/examples/ldap-requirements.txt

FROM sendit:2.0.0
USER root
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ldap-utils \
    && rm -rf /var/lib/apt/lists/*
COPY --from=builder /build/ldap/ /opt/sendit/lib/python3.12/site-packages/
USER airflow
