# sendit's image: Airflow, the locked environment, the package and the DAG.
# Nothing is downloaded when a container starts.

# Its Python and its tools are used, not its Airflow: the `slim` image of the same version does too.
ARG BASE=apache/airflow:3.3.2-python3.12

FROM ${BASE} AS builder
# hadolint ignore=DL3002
USER root
# The system's certificates count, and with them a site's own. A site with a mirror of packages
# names it: docker compose build --build-arg PIP_INDEX_URL=... --build-arg UV_DEFAULT_INDEX=...
ARG PIP_INDEX_URL UV_DEFAULT_INDEX
ENV PIP_USER=0 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_SYSTEM_CERTS=1 \
    UV_NO_CACHE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    VIRTUAL_ENV=/opt/sendit
WORKDIR /build

COPY requirements-uv.txt ./
RUN python3.12 -m venv /build/uv \
    && /build/uv/bin/python -m pip install --require-hashes -r requirements-uv.txt

# An environment of its own: what the base image has installed cannot mix with the lock. Two
# packages come as sources (som, oauth2client); what builds them is of the lock too.
COPY deploy/requirements.txt deploy/trim.py deploy/unused-files.txt deploy/
RUN /build/uv/bin/uv venv --python python3.12 /opt/sendit \
    && /build/uv/bin/uv pip install --require-hashes --no-deps --build-constraints deploy/requirements.txt \
        -r deploy/requirements.txt \
    && rm /opt/sendit/.lock \
    # In the same step, so that no layer holds it.
    && python3.12 deploy/trim.py /opt/sendit/lib/python3.12/site-packages deploy/unused-files.txt

COPY pyproject.toml README.md LICENSE package/
COPY plugins/ package/plugins/
RUN /build/uv/bin/uv pip install --no-deps --no-build-isolation ./package && rm /opt/sendit/.lock

# Readable by whatever uid runs them, and written by none, whatever modes the checkout has.
COPY dags/ airflow/dags/
COPY deploy/airflow.cfg deploy/webserver_config.py deploy/init.py deploy/health.py deploy/secret.sh airflow/
COPY deploy/airflow_local_settings.py airflow/config/
RUN chmod -R u=rwX,go=rX airflow


FROM ${BASE}
USER root
RUN install --directory --owner root --group root --mode 0755 /opt/airflow \
    && install --directory --owner airflow --group root --mode 0775 /opt/airflow/logs \
    && install --directory --owner airflow --group root --mode 0770 /var/lib/sendit /var/lib/queue
COPY --from=builder /opt/sendit /opt/sendit
COPY --from=builder /build/airflow/ /opt/airflow/
USER airflow

# In place of the base image's entrypoint, which waits for databases that compose waits for: what
# compose names is what runs, under an init that passes signals on to it alone, so that a worker
# can finish its tasks.
ENV VIRTUAL_ENV=/opt/sendit \
    PATH=/opt/sendit/bin:$PATH \
    AIRFLOW_HOME=/opt/airflow \
    PYTHONUNBUFFERED=1 \
    DUMB_INIT_SETSID=0
ENTRYPOINT ["/usr/bin/dumb-init", "--"]
CMD ["airflow", "version"]
