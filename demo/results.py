"""What a run leaves for the caller: objects, rows, metrics, logs, Airflow's database."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from demo.processes import DemoError
from demo.stack import AIRFLOW_DATABASE, BUCKET, PROJECT_ROOT, Stack

DELIVERED_TABLE = "dicom"  # the only permanent table of a collection; stages have other names


def prepare(out: Path) -> None:
    """Create the results folder, replacing an earlier demo's."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("objects", "logs", "pictures"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("bigquery.ndjson", "metrics.tsv", "airflow.sql"):
        (out / name).unlink(missing_ok=True)


def collect(stack: Stack, out: Path, seen: Path | None = None) -> list[str]:
    """Write the results to ``out`` as far as possible; return what failed.

    ``seen`` is the accession folder of which pictures are made, before and after.
    """
    parts: dict[str, Callable[[], None]] = {
        "objects": lambda: save_objects(stack, out / "objects"),
        "bigquery.ndjson": lambda: save_rows(stack, out / "bigquery.ndjson"),
        "metrics.tsv": lambda: save_metrics(stack, out / "metrics.tsv"),
        "airflow.sql": lambda: stack.postgres.dump(AIRFLOW_DATABASE, out / "airflow.sql"),
        "logs": lambda: save_logs(stack, out / "logs"),
    }
    if seen is not None:
        parts["pictures"] = lambda: save_pictures(stack, seen, out)
    missing = []
    for name, save in parts.items():
        try:
            save()
        except (DemoError, OSError, ValueError, http.client.HTTPException) as error:
            missing.append(f"{name}: {error}")
    return missing


def save_objects(stack: Stack, folder: Path) -> None:
    """Write every object of the bucket to a file of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for each in stack.objects():
        target = (folder / each["name"]).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise DemoError("an object's name leaves the folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        quoted = urllib.parse.quote(each["name"], safe="")
        url = f"{stack.storage_url}/storage/v1/b/{BUCKET}/o/{quoted}?alt=media"
        with opener.open(url, timeout=300) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)


def save_pictures(stack: Stack, seen: Path, out: Path) -> None:
    """Have sendit's own environment make pictures of a folder's images."""
    answer = subprocess.run(
        [
            *(stack.airflow_bin / "python", "-W", "ignore", "-m", "demo.pictures"),
            *(seen, out.absolute() / "objects", out.absolute() / "pictures"),
        ],
        env=stack.environment,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise DemoError(f"the pictures were not made: {answer.stderr.strip()[-300:]}")


def save_rows(stack: Stack, file: Path) -> None:
    """Write all rows of the delivered tables, one JSON object per line."""
    with file.open("w", encoding="utf-8") as output:
        for table, rows in sorted(stack.tables().items()):
            if table.rpartition(".")[2] != DELIVERED_TABLE:
                continue
            for row in rows:
                output.write(json.dumps({"_table": table} | row, ensure_ascii=False) + "\n")


def save_metrics(stack: Stack, file: Path) -> None:
    """Have the command ``sendit metrics`` write its table."""
    answer = subprocess.run(
        [stack.airflow_bin / "sendit", "metrics", "--out", file],
        env=stack.environment,
        cwd=stack.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise DemoError(f"sendit metrics failed: {answer.stderr.strip()}")


def save_logs(stack: Stack, folder: Path) -> None:
    """Copy the logs of all processes and tasks."""
    shutil.copytree(stack.logs, folder, dirs_exist_ok=True)
