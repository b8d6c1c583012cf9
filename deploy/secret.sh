#!/bin/sh
# Prints a secret for Airflow's `..._CMD` settings: without the file's last line end, which Airflow
# would take as part of the password.
set -eu
text=$(cat "${SECRETS_FOLDER:-/run/secrets}/$1")
printf %s "$text"
