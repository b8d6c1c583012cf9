"""sendit's provider metadata for Airflow: the connection type ``dasher`` and its form."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description (entry point ``apache_airflow_provider``).

    The form is declared here and not in the hook: Airflow 3.2 and later read it without
    importing the hook, and warn about hooks that define their own.
    """
    return {
        "package-name": "sendit",
        "name": "sendit",
        "description": "De-identifies folders of DICOM and delivers them to Google Cloud.",
        "connection-types": [
            {
                "connection-type": "dasher",
                "hook-class-name": "sendit.hooks.dasher.DasherHook",
                "hook-name": "DASHER",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "password", "schema", "port", "extra"],
                    "relabeling": {"host": "Address"},
                    "placeholders": {"host": "https://api.rit.stanford.edu/identifiers/api"},
                },
                "conn-fields": {
                    "token_file": {
                        "label": "Token file",
                        "schema": {"type": ["string", "null"]},
                        "description": "Path of the token file on the workers, mode 0600, in a "
                        "folder that they can write to (the token is renewed there every day). "
                        "Empty: the file that STANFORD_CLIENT_SECRETS names.",
                    },
                    "timeout": {
                        "label": "Timeout",
                        "schema": {"type": ["number", "null"], "default": 30, "maximum": 600},
                        "description": "Maximum duration of one call, in seconds.",
                    },
                    "deadline": {
                        "label": "Deadline",
                        "schema": {"type": ["number", "null"], "default": 300, "maximum": 3600},
                        "description": "Maximum duration of all calls for one batch, in seconds.",
                    },
                    "attempts": {
                        "label": "Attempts",
                        "schema": {
                            "type": ["integer", "null"],
                            "default": 6,
                            "minimum": 1,
                            "maximum": 20,
                        },
                        "description": "Maximum number of calls for one batch, with exponential "
                        "backoff; then the task fails and Airflow retries it.",
                    },
                },
            }
        ],
    }
