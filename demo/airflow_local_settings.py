"""Imports what every task needs once, where LocalExecutor's workers fork from.

Without it each task imports the Google provider by itself: 1.65 CPU s per task
instead of 0.40. Only in the scheduler, because the other processes do not run tasks.
"""

import importlib
import sys

if sys.argv[1:2] == ["scheduler"]:
    for name in (
        "airflow.providers.google.cloud.operators.bigquery",
        "airflow.providers.google.cloud.transfers.local_to_gcs",
        "airflow.providers.google.cloud.hooks.gcs",
        "airflow.providers.postgres.hooks.postgres",
        "airflow.providers.standard.operators.python",
        "google.cloud.bigquery",
        "google.cloud.storage",
        "pydicom",
        "sqlalchemy.orm",
        "psycopg2",
    ):
        importlib.import_module(name)
