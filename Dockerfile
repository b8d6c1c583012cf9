# sendit's image: Airflow, the locked environment that the tests ran in, the package and the DAG.
# Nothing is downloaded when a container starts.

FROM apache/airflow:3.3.2-python3.12

# An environment of its own: what the base image has installed cannot mix with the lock.
USER root
RUN install --directory --owner airflow --group root --mode 0775 /opt/sendit /opt/airflow/logs \
    && install --directory --owner airflow --group root --mode 0770 /var/lib/sendit
USER airflow
ENV PIP_USER=0 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3.12 -m venv /opt/sendit
ENV VIRTUAL_ENV=/opt/sendit \
    PATH=/opt/sendit/bin:$PATH

COPY requirements.txt /tmp/
RUN pip install --require-hashes -r /tmp/requirements.txt
COPY deploy/requirements.txt /tmp/requirements-deploy.txt
RUN pip install --require-hashes -r /tmp/requirements-deploy.txt

COPY pyproject.toml README.md LICENSE /tmp/package/
COPY plugins/ /tmp/package/plugins/
RUN pip install --no-deps --no-build-isolation /tmp/package

COPY dags/ /opt/airflow/dags/
COPY deploy/airflow.cfg deploy/webserver_config.py deploy/init.py deploy/health.py deploy/secret.sh \
    /opt/airflow/
COPY deploy/airflow_local_settings.py /opt/airflow/config/

ENV AIRFLOW_HOME=/opt/airflow \
    PYTHONUNBUFFERED=1

# In place of the base image's entrypoint, which waits for databases that compose waits for:
# what compose names is what runs, under an init that passes signals on to it alone, so that a
# worker can finish its tasks.
ENV DUMB_INIT_SETSID=0
ENTRYPOINT ["/usr/bin/dumb-init", "--"]
CMD ["airflow", "version"]
