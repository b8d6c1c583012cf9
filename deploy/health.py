"""Cheap health checks for docker-compose.yaml: Airflow's own cost 5 CPU seconds each.

``python health.py dag_processor`` asks the API server whether that process's
heartbeat is fresh; ``python health.py worker`` asks this container's Celery worker for a pong.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.request
from pathlib import Path

API_SERVER = os.environ.get("API_SERVER", "http://api-server:8080")
BROKER_URL = Path(os.environ.get("SECRETS_FOLDER", "/run/secrets")) / "broker_url"
SECONDS = 10


def heartbeat(process: str) -> bool:
    """Whether the API server has a recent heartbeat of a process."""
    with urllib.request.urlopen(f"{API_SERVER}/api/v2/monitor/health", timeout=SECONDS) as answer:
        return bool(json.load(answer)[process]["status"] == "healthy")


def pong() -> bool:
    """Whether this host's Celery worker responds over the broker."""
    from celery import Celery  # noqa: PLC0415 - the other checks do without

    app = Celery(broker=BROKER_URL.read_text().strip(), set_as_current=False)
    return bool(app.control.ping(destination=[f"celery@{socket.gethostname()}"], timeout=SECONDS))


if __name__ == "__main__":
    sys.exit(0 if (pong() if sys.argv[1] == "worker" else heartbeat(sys.argv[1])) else 1)
