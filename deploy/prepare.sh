#!/bin/sh
# Creates what a site needs before its first `docker compose up`: .env and secrets/.
#
#   deploy/prepare.sh https://sendit.example.org /data/incoming my-bucket
#
# Run it as the account that owns the input folders: the containers run under its uid. Passwords
# and keys are random; existing files are left unchanged, so running it again is safe.
set -eu
umask 077
cd "$(dirname "$0")/.."

if [ $# -ne 3 ]; then
    echo "usage: deploy/prepare.sh ADDRESS-OF-THE-UI INPUT-FOLDER BUCKET" >&2
    exit 2
fi
address=$1 input=$2 bucket=$3

case $address in
https://*) ;;
*)
    echo "the address of the UI must begin with https://" >&2
    exit 2
    ;;
esac
if [ ! -d "$input" ]; then
    echo "the input folder is not there: it holds one folder per accession number" >&2
    exit 2
fi
if [ "$(id -u)" -eq 0 ]; then
    echo "run this as the account that owns the input folders, not as root" >&2
    exit 2
fi

secrets=secrets
mkdir -p "$secrets/dasher"

# create NAME: write standard input to a secret, unless it exists.
create() {
    if [ -e "$secrets/$1" ]; then
        cat >/dev/null
        echo "exists   $secrets/$1"
    else
        cat >"$secrets/$1"
        echo "created  $secrets/$1"
    fi
}

hex() { openssl rand -hex "$1"; }

hex 24 | create postgres_password
echo "postgresql+psycopg2://airflow:$(hex 24)@postgres:5432/airflow" | create metadata_url
echo "redis://:$(hex 24)@redis:6379/0" | create broker_url
openssl rand -base64 32 | tr '+/' '-_' | create fernet_key
hex 32 | create api_secret_key
hex 32 | create jwt_secret
hex 12 | create admin_password
hex 32 | create sendit_key
sed "s/LEDGER_PASSWORD/$(hex 24)/" deploy/connections.yaml.example | create connections.yaml
echo '{}' | create google_key.json

if [ ! -e "$secrets/tls.crt" ]; then
    host=${address#https://}
    host=${host%%[:/]*}
    openssl req -x509 -newkey rsa:3072 -nodes -days 365 -subj "/CN=$host" \
        -addext "subjectAltName=DNS:$host" \
        -keyout "$secrets/tls.key" -out "$secrets/tls.crt" 2>/dev/null
    echo "created  $secrets/tls.crt and tls.key (self-signed: replace them with your site's own)"
fi

if [ -e .env ]; then
    echo "exists   .env"
else
    while IFS= read -r line; do
        case $line in
        RUN_AS_UID=) line="RUN_AS_UID=$(id -u)" ;;
        UI_URL=) line="UI_URL=$address" ;;
        INPUT_ON_HOST=) line="INPUT_ON_HOST=$input" ;;
        SENDIT_BUCKET=) line="SENDIT_BUCKET=$bucket" ;;
        esac
        printf '%s\n' "$line"
    done <deploy/.env.example >.env
    echo "created  .env"
fi

cat <<'END'

Next:
  1. Put the service account's key into secrets/google_key.json and its project into
     secrets/connections.yaml; DASHER's token file, if you use it, is secrets/dasher/tokens.json.
  2. Read .env.
  3. docker compose up --detach --build
  4. Sign in as admin with the password in secrets/admin_password, and change it there.
Keep a copy of secrets/sendit_key where the hospital keeps its keys: without it a known
patient's next study gets other UIDs.
END
