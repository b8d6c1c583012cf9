"""Signs in to Airflow's UI in headless Chromium and looks at a run's grid; runs in a container.

    python browser.py URL USER DAG        the password is read from standard input

Prints what it saw as JSON. Chromium is driven over W3C WebDriver, which is HTTP and JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

DRIVER = "http://127.0.0.1:9515"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's name for a reference
PATIENCE = 90.0  # seconds for a page


def call(method: str, path: str, body: Any = None) -> Any:
    """Send a request to the driver."""
    request = urllib.request.Request(
        DRIVER + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["value"]


def wait(what: str, poll: Any) -> Any:
    """Poll until the result is truthy."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if value := poll():
                return value
        except (urllib.error.URLError, ConnectionError) as error:
            last: Any = error
        else:
            last = "nothing"
        if time.monotonic() > end:
            raise SystemExit(f"the browser timed out waiting for {what}: {last}")
        time.sleep(0.5)


class Browser:
    """A Chromium session."""

    def __init__(self) -> None:
        arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        options = {"args": arguments, "binary": "/usr/bin/chromium"}
        capabilities = {
            "browserName": "chrome",
            "acceptInsecureCerts": True,  # prepare.sh's own certificate
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.path = f"/session/{session['sessionId']}"

    def open(self, url: str) -> None:
        call("POST", f"{self.path}/url", {"url": url})

    def find(self, css: str) -> str:
        using = {"using": "css selector", "value": css}
        element = wait(css, lambda: call("POST", f"{self.path}/elements", using))
        return str(element[0][ELEMENT])

    def type(self, css: str, text: str) -> None:
        call("POST", f"{self.path}/element/{self.find(css)}/value", {"text": text})

    def click(self, css: str) -> None:
        call("POST", f"{self.path}/element/{self.find(css)}/click", {})

    def script(self, text: str) -> Any:
        return call("POST", f"{self.path}/execute/sync", {"script": text, "args": []})

    def address(self) -> str:
        return str(call("GET", f"{self.path}/url"))

    def complaints(self) -> list[str]:
        entries = call("POST", f"{self.path}/se/log", {"type": "browser"})
        return [each["message"] for each in entries if each["level"] == "SEVERE"]


def main(url: str, user: str, dag: str) -> None:
    """Sign in and inspect the grid."""
    password = sys.stdin.readline().strip()
    with subprocess.Popen(
        ["chromedriver", "--port=9515"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        try:
            wait("chromedriver", lambda: call("GET", "/status")["ready"])
            browser = Browser()
            browser.open(url)
            browser.type("input[name=username]", user)
            browser.type("input[name=password]", password)
            browser.click("input[type=submit], button[type=submit]")
            wait("the end of signing in", lambda: "/auth/" not in browser.address())
            complaints = browser.complaints()
            browser.open(f"{url}/dags/{dag}")
            text = "return document.body.innerText"
            wait("the grid's tasks", lambda: "discover" in browser.script(text))
            page = browser.script(text).split("\n")
            seen = {
                "tasks": [
                    name for name in ("discover", "batch", "upload", "report") if name in page
                ],
                "links": browser.script(
                    "return document.querySelectorAll('a[href*=\"/tasks/\"]').length"
                ),
                "complaints": complaints + browser.complaints(),
            }
            print(json.dumps(seen))
        finally:
            driver.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
