"""What sendit tells Airflow about itself: the connection type ``dasher`` and its form."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description (entry point ``apache_airflow_provider``).

    The form is declared here and not on the hook: Airflow 3.2 and later read it without
    importing the hook, and warn about hooks that still bring their own.
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
                        "description": "Path of the file with the tokens, as the workers see it, "
                        "mode 0600, in a folder that they may write to (the token is renewed "
                        "there every day). Empty: the file that STANFORD_CLIENT_SECRETS names.",
                    },
                    "timeout": {
                        "label": "Timeout",
                        "schema": {"type": ["number", "null"], "default": 30, "maximum": 600},
                        "description": "Seconds that one call may take.",
                    },
                    "deadline": {
                        "label": "Deadline",
                        "schema": {"type": ["number", "null"], "default": 300, "maximum": 3600},
                        "description": "Seconds that all calls for one batch may take together.",
                    },
                    "attempts": {
                        "label": "Attempts",
                        "schema": {
                            "type": ["integer", "null"],
                            "default": 6,
                            "minimum": 1,
                            "maximum": 20,
                        },
                        "description": "Calls for one batch at most, with exponential backoff; "
                        "then the task fails and Airflow retries it.",
                    },
                },
            }
        ],
    }
