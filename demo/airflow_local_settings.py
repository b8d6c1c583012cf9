"""Imported early by each of Airflow's processes. For the demo it does two things.

It imports what every task needs once, in the process from which LocalExecutor forks its workers:
otherwise each task imports the Google provider itself, 1.65 CPU s per task instead of 0.40.

It also holds processes back until the database is migrated, so that they can do their imports in
the meantime. (The API server needs no database to start.)
"""

import importlib
import os
import pkgutil
import sys
import time
from pathlib import Path

COMMAND = sys.argv[1] if len(sys.argv) > 1 else ""
NEEDED_BY_TASKS = (
    "airflow.providers.google.cloud.hooks.bigquery",
    "airflow.providers.google.cloud.hooks.gcs",
    "airflow.providers.google.cloud.operators.bigquery",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.operators.trigger_dagrun",
    "google.cloud.bigquery",
    "google.cloud.storage",
    "psycopg2",
    "pydicom",
    "sqlalchemy.orm",
)

if COMMAND == "scheduler":
    import sendit

    ours = [module.name for module in pkgutil.walk_packages(sendit.__path__, "sendit.")]
    # Tasks do not need the command's modules; alembic runs the migrations' modules itself.
    ours = [name for name in ours if ".cli" not in name and ".migrations." not in name]
    for name in [*NEEDED_BY_TASKS, *ours]:
        importlib.import_module(name)
if COMMAND in {"scheduler", "dag-processor", "triggerer"}:
    migrated = Path(os.environ["AIRFLOW_HOME"], "migrated")
    while not migrated.exists():
        time.sleep(0.1)
