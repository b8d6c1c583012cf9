#!/bin/sh
# Restores a backup made by deploy/backup.sh onto empty volumes.
#
#   deploy/restore.sh /backup/sendit-20260131T020000Z
#
# In a checkout of the version that made the backup, or of a later one (the init step migrates the
# databases), as the deploying account. secrets/ and .env are taken from the backup if they are
# missing. No service is started: bucket and table are compared with the ledger; then start the rest.
set -eu
umask 077

if [ $# -ne 1 ] || [ ! -f "$1/SHA256SUMS" ]; then
    echo "usage: deploy/restore.sh BACKUP (a folder that deploy/backup.sh made)" >&2
    exit 2
fi
backup=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

stop() {
    echo "not restored: $1" >&2
    exit 1
}

(cd "$backup" && sha256sum --check --quiet SHA256SUMS) || stop "the backup is not as it was made"
if [ -e secrets ]; then
    cmp -s secrets/sendit_key "$backup/secrets/sendit_key" ||
        stop "secrets/ is another site's: its sendit_key differs. Move secrets/ away first"
else
    cp -Rp "$backup/secrets" secrets
fi
[ -e .env ] || cp -p "$backup/env" .env

server() {
    docker compose exec -T postgres sh -c \
        'export PGPASSWORD="$(cat /run/secrets/postgres_password)" PGUSER=postgres; exec "$@"' - "$@"
}
ask() {
    server psql --no-psqlrc --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname=postgres "$@"
}

docker compose up --detach --wait postgres
held=$(ask --command="SELECT count(*) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'" </dev/null)
[ "$held" = 0 ] || stop "the volume has databases already. If they may go: docker compose down,
then docker volume rm sendit_postgres sendit_sendit sendit_redis, and again"

# Roles are created without passwords: the init step sets those in secrets/.
while IFS= read -r role; do
    echo "SELECT format('CREATE ROLE %I LOGIN', :'role') \\gexec" | ask --set=role="$role" >/dev/null
done <"$backup/roles"
for dump in "$backup"/databases/*; do
    server pg_restore --create --exit-on-error --dbname=postgres <"$dump"
    echo "restored the database ${dump##*/}"
done
docker compose run --rm --no-deps -T init </dev/null

echo "bucket and table against the runs' manifests and the ledger:"
if docker compose run --rm --no-deps -T worker sendit verify --ledger </dev/null; then
    echo "restored. Start the rest: docker compose up --detach"
else
    stop "see the differences above: what is said to be delivered is not there, or is another.
The databases are in place, nothing else runs. If you know why: docker compose up --detach"
fi
