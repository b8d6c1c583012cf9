#!/bin/sh
# Backs up what cannot be recreated into a new folder: databases, secrets, .env.
#
#   deploy/backup.sh /backup          makes /backup/sendit-20260131T020000Z
#
# Run it as the deploying account, while everything is running. The backup identifies patients and
# contains all of the site's secrets: protect it like patient data, and encrypt copies that leave
# the machine. deploy/restore.sh restores it.
set -eu
umask 077

if [ $# -ne 1 ] || [ ! -d "$1" ]; then
    echo "usage: deploy/backup.sh FOLDER (which exists)" >&2
    exit 2
fi
target=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
name=sendit-$(date -u +%Y%m%dT%H%M%SZ)
part=$target/$name.part
mkdir "$part" "$part/databases"

# server CMD...: run a PostgreSQL program in its container, as the superuser.
server() {
    docker compose exec -T postgres sh -c \
        'export PGPASSWORD="$(cat /run/secrets/postgres_password)" PGUSER=postgres; exec "$@"' - "$@"
}

server psql --no-psqlrc --tuples-only --no-align --dbname=postgres --command="
    SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname <> 'postgres'" >"$part/roles"
server psql --no-psqlrc --tuples-only --no-align --dbname=postgres --command="
    SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'
    ORDER BY datname" >"$part/names"
# Airflow's database first (also alphabetically): the ledger then already knows what later runs
# did, and repeating a run leads to the same result.
while IFS= read -r database; do
    server pg_dump --format=custom --create --dbname="$database" </dev/null >"$part/databases/$database"
    # Check completeness: a truncated dump has no table of contents.
    server pg_restore --list <"$part/databases/$database" >/dev/null
done <"$part/names"
[ -s "$part/names" ] || {
    echo "there is no database yet: nothing to back up" >&2
    exit 1
}
rm "$part/names"

cp -Rp secrets "$part/secrets"
cp -p .env "$part/env"
(cd "$part" && find . -type f ! -name SHA256SUMS -exec sha256sum {} + >SHA256SUMS)
mv "$part" "$target/$name"
echo "$target/$name"
