"""Signs people in through nginx with a test OpenID provider; runs in the provider's container.

    python openid.py URL PERSON...

Prints a JSON object: for each person the status of each path that tests/containers/ requests.
"""

from __future__ import annotations

import http.cookiejar
import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

PATHS = ("/api/v2/dags", "/api/v2/connections", "/auth/fab/v1/users")


def status(opener: urllib.request.OpenerDirector, url: str) -> int:
    """Return the status that a signed-in person gets."""
    try:
        with opener.open(url, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def sign_in(url: str, person: str) -> list[int]:
    """Sign a person in as a browser does, and request each path."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = (
        False,
        ssl.CERT_NONE,
    )  # certificate made by prepare.sh
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
    )
    with opener.open(f"{url}/auth/login/site", timeout=60) as page:
        form = page.url  # now at the provider
    with opener.open(form, urllib.parse.urlencode({"sub": person}).encode(), timeout=60):
        pass
    return [status(opener, url + path) for path in PATHS]


if __name__ == "__main__":
    print(json.dumps({person: sign_in(sys.argv[1], person) for person in sys.argv[2:]}))
