#!/bin/sh
# Deletes data older than the given days: runs in Airflow's database, log files, metrics.
#
#   deploy/retention.sh 90
#
# For cron or a timer, once a day. The ledger keeps everything; working folders of finished batches
# are removed by their run, and those of a batch in ERROR are kept until it is resolved
# (`sendit batches --errors`).
set -eu

days=${1:-}
case $days in
'' | *[!0-9]*)
    echo "usage: deploy/retention.sh DAYS" >&2
    exit 2
    ;;
esac
cd "$(dirname "$0")/.."
before=$(date -u -d "$days days ago" +%Y-%m-%dT%H:%M:%S+00:00)

docker compose exec -T scheduler airflow db clean --clean-before-timestamp "$before" --skip-archive --yes </dev/null
docker compose exec -T scheduler find /opt/airflow/logs -type f -mtime "+$days" -delete </dev/null
docker compose exec -T scheduler find /opt/airflow/logs -mindepth 1 -type d -empty -mtime +1 -delete </dev/null
docker compose exec -T worker sh -c \
    '[ ! -d "$1" ] || find "$1" -type f -mtime "+$2" -delete' - /var/lib/sendit/metrics "$days" </dev/null
echo "deleted: everything older than $days days"
