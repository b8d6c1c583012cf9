#!/bin/sh
# Redis as Celery's broker: `serve` starts it, `ping` is its health check.
# The password is part of broker_url and reaches Redis on standard input, so that it stands in no
# list of processes and in no other file. Nothing is kept on disk: tasks that were queued when Redis
# stops are queued again by Airflow's scheduler.
set -eu

after_user=$(sed 's|^[a-z]*://[^:]*:||' "${SECRETS_FOLDER:-/run/secrets}/broker_url")
password=${after_user%@*}
port=${PORT:-6379}

case "$1" in
serve)
    exec redis-server - <<END
port $port
requirepass $password
save ""
appendonly no
maxmemory-policy noeviction
END
    ;;
ping)
    test "$(REDISCLI_AUTH=$password redis-cli -p "$port" ping)" = PONG
    ;;
*)
    echo "usage: redis.sh serve|ping" >&2
    exit 2
    ;;
esac
