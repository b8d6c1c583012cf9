"""Signing in with a site's OpenID Connect provider (Keycloak, Entra ID, Okta ...).

In place of deploy/webserver_config.py, by deploy/examples/oidc.yaml, which says how. Who may do
what follows from a claim with groups, at each sign-in; who is in none of them may do nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow.providers.fab.auth_manager.security_manager.override import (
    FabAirflowSecurityManagerOverride,
)
from flask_appbuilder.const import AUTH_OAUTH

#: {"issuer": "https://sso.example.org/realms/x", "client_id": "sendit", "client_secret": "..."}
PROVIDER = json.loads(Path("/run/secrets/oidc.json").read_text())

#: The claim that lists a person's groups, and the roles that they map to.
GROUPS = "groups"
AUTH_ROLES_MAPPING = {
    "sendit-admins": ["Admin"],
    "sendit-operators": ["Op"],
    "sendit-viewers": ["Viewer"],
}


class OpenIdSecurityManager(FabAirflowSecurityManagerOverride):
    """Reads a person's name and groups from the validated ID token."""

    def get_oauth_user_info(self, provider: str, resp: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return the user attributes that Flask AppBuilder expects."""
        claims = resp["userinfo"]
        return {
            "username": claims["sub"],
            "email": claims.get("email", f"{claims['sub']}@localhost"),
            "first_name": claims.get("given_name", ""),
            "last_name": claims.get("family_name", ""),
            "role_keys": claims.get(GROUPS, []),
        }


SECURITY_MANAGER_CLASS = OpenIdSecurityManager
AUTH_TYPE = AUTH_OAUTH
AUTH_USER_REGISTRATION = True
AUTH_USER_REGISTRATION_ROLE = "Public"  # no permissions
AUTH_ROLES_SYNC_AT_LOGIN = True
AUTH_RATE_LIMITED = True
RATELIMIT_STORAGE_URI = "memory://"
WTF_CSRF_ENABLED = True
OAUTH_PROVIDERS = [
    {
        "name": "site",
        "token_key": "access_token",
        "icon": "fa-key",
        "remote_app": {
            "client_id": PROVIDER["client_id"],
            "client_secret": PROVIDER["client_secret"],
            "server_metadata_url": f"{PROVIDER['issuer']}/.well-known/openid-configuration",
            "client_kwargs": {"scope": "openid email profile", "code_challenge_method": "S256"},
        },
    }
]
