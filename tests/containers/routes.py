"""Requests every route of Airflow's API as several users; runs in the API server's container.

    python routes.py        one JSON object on standard input: a token for each user

Prints a JSON object: for each route, as ``METHOD /path``, the status that each user got. Every
path parameter is ``1``, which names nothing, and nearly every body is ``{}``, which all routes
that write reject except ``connections/defaults``: it creates Airflow's examples.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

SERVER = "http://localhost:8080"
#: Routes that sign the user out, or serve the UI's files and everything else.
LEFT_OUT = re.compile(r"/logout$|^/(api/(v1/)?)?\{[^}]*:path\}$")
#: Bulk routes validate the request before they check the user.
DELETE = {"action": "delete", "action_on_non_existence": "skip", "entities": ["1"]}
BODIES: dict[str, Any] = {
    "PATCH /api/v2/connections": {"actions": [DELETE]},
    "PATCH /api/v2/pools": {"actions": [DELETE]},
    "PATCH /api/v2/variables": {"actions": [DELETE]},
    "PATCH /api/v2/dags/{dag_id}/dagRuns": {"actions": [DELETE]},
    "POST /api/v2/dags/{dag_id}/clearDagRuns": {"dag_runs": [{"dag_run_id": "1"}], "dry_run": True},
}
#: The execution API has its own tokens, and nginx blocks it.
MOUNTS = ("", "/auth")


class Stay(urllib.request.HTTPRedirectHandler):
    """Returns redirects instead of following them."""

    def redirect_request(self, *_: Any) -> None:
        return None


def routes(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Return an application's routes, including those of mounted applications."""
    for each in app.routes:
        path = prefix + getattr(each, "path", "")
        if methods := getattr(each, "methods", None):
            if not LEFT_OUT.search(path):
                yield from ((method, path) for method in sorted(methods - {"HEAD", "OPTIONS"}))
        elif path in MOUNTS and hasattr(getattr(each, "app", None), "routes"):
            yield from routes(each.app, path)


def ask(method: str, path: str, token: str) -> int:
    """Return the status that a user gets."""
    body = BODIES.get(f"{method} {path}", {})
    request = urllib.request.Request(
        SERVER + re.sub(r"\{[^}]*\}", "1", path),
        method=method,
        data=None if method in ("GET", "DELETE") else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"}
        | ({"Authorization": f"Bearer {token}"} if token else {}),
    )
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def main() -> None:
    """Request every route as every user."""
    from airflow.api_fastapi.app import create_app

    tokens = json.load(sys.stdin)
    app_routes = sorted(set(routes(create_app())))
    asked = [(method, path, user) for method, path in app_routes for user in tokens]
    with ThreadPoolExecutor(4) as threads:
        statuses = threads.map(lambda each: ask(each[0], each[1], tokens[each[2]]), asked)
    answers: dict[str, dict[str, int]] = {}
    for (method, path, user), status in zip(asked, statuses, strict=True):
        answers.setdefault(f"{method} {path}", {})[user] = status
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
