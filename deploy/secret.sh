#!/bin/sh
# Prints a secret for Airflow's `..._CMD` settings, without the trailing newline, which Airflow
# would treat as part of the password.
set -eu
text=$(cat "${SECRETS_FOLDER:-/run/secrets}/$1")
printf %s "$text"
