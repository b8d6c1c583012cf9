"""Sign-in to Airflow's UI: users, roles and hashed passwords in Airflow's own database.

For a site's OpenID Connect provider see deploy/examples/oidc.yaml.
"""

from flask import request
from flask_appbuilder.const import AUTH_DB
from flask_limiter.util import get_remote_address


def who_signs_in() -> str:
    """Return the user name of a sign-in, the key of its rate limit: a whole site may share one
    address.
    """
    return str(request.form.get("username", "")).strip().lower() or get_remote_address()


AUTH_TYPE = AUTH_DB
AUTH_USER_REGISTRATION = False
AUTH_RATE_LIMITED = True
AUTH_RATE_LIMIT = "5 per minute"
RATELIMIT_KEY_FUNC = who_signs_in
RATELIMIT_STORAGE_URI = "memory://"
WTF_CSRF_ENABLED = True
