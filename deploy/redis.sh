#!/bin/sh
# Redis as Celery's broker: `serve` starts it, `ping` is its health check.
# The password is part of broker_url and is passed to Redis on standard input, so that it appears in
# no process list and in no other file. The queue is persisted before it is acknowledged, so that it
# survives a restart: it contains ids of tasks and runs, and no patient data.
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
