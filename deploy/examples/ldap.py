"""Signing in with a site's directory over LDAP (Active Directory, OpenLDAP ...).

In place of deploy/webserver_config.py, by deploy/examples/ldap.yaml, which says how. Who may do
what follows from a person's groups, at each sign-in; who is in none of them may do nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from flask import request
from flask_appbuilder.const import AUTH_LDAP
from flask_limiter.util import get_remote_address

#: {"server": "ldaps://directory.example.org", "people": "ou=people,dc=example,dc=org",
#: "user": "cn=sendit,dc=example,dc=org", "password": "..."}: an account that may search for people.
DIRECTORY = json.loads(Path("/run/secrets/ldap.json").read_text())

#: The attribute used to sign in: uid, or sAMAccountName in Active Directory.
AUTH_LDAP_UID_FIELD = "uid"
#: The attribute that lists a person's groups, and the roles that they map to.
AUTH_LDAP_GROUP_FIELD = "memberOf"
AUTH_ROLES_MAPPING = {
    "cn=sendit-admins,ou=groups,dc=example,dc=org": ["Admin"],
    "cn=sendit-operators,ou=groups,dc=example,dc=org": ["Op"],
    "cn=sendit-viewers,ou=groups,dc=example,dc=org": ["Viewer"],
}


def who_signs_in() -> str:
    """Return the user name of a sign-in, the key of its rate limit: a whole site may share one
    address.
    """
    return str(request.form.get("username", "")).strip().lower() or get_remote_address()


AUTH_TYPE = AUTH_LDAP
AUTH_LDAP_SERVER = DIRECTORY["server"]
AUTH_LDAP_SEARCH = DIRECTORY["people"]
AUTH_LDAP_BIND_USER = DIRECTORY["user"]
AUTH_LDAP_BIND_PASSWORD = DIRECTORY["password"]
# Passwords are sent to the directory only: its certificate must be issued by this authority.
AUTH_LDAP_TLS_DEMAND = True
AUTH_LDAP_TLS_CACERTFILE = "/run/secrets/ldap_ca.crt"
AUTH_USER_REGISTRATION = True
AUTH_USER_REGISTRATION_ROLE = "Public"  # no permissions
AUTH_ROLES_SYNC_AT_LOGIN = True
AUTH_RATE_LIMITED = True
AUTH_RATE_LIMIT = "5 per minute"
RATELIMIT_KEY_FUNC = who_signs_in
RATELIMIT_STORAGE_URI = "memory://"
WTF_CSRF_ENABLED = True
