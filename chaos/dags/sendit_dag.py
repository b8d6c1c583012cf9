"""The project's DAG with shorter retry delays and overlapping runs.

(Airflow parses a file only if both its name and the word DAG are in it.)
"""

from __future__ import annotations

import runpy
from datetime import timedelta
from pathlib import Path

REAL = Path(__file__).parents[2] / "dags" / "sendit_dag.py"

sendit = runpy.run_path(str(REAL))["pipeline"]
# The guarantees must not depend on this.
sendit.max_active_runs = 2
for task in sendit.tasks:
    task.retry_delay = timedelta(seconds=1)
    task.max_retry_delay = timedelta(seconds=5)
