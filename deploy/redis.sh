#!/bin/sh
# Redis as Celery's broker: `serve` starts it, `ping` is its health check.
# The password is part of broker_url and reaches Redis on standard input, so that it stands in no
# list of processes and in no other file. What is queued is on disk before it counts, so that it is
# still queued after a stop: it holds ids of tasks and runs, and nothing of a patient.
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
dir ${QUEUE_FOLDER:-/var/lib/queue}
appendonly yes
appendfsync always
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
