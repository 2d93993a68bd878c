#!/bin/sh
# Submits the job to the JobManager of docker-compose.yml, unless it runs already. RESTORE_FROM: a savepoint's or checkpoint's path,
# "latest" for the newest of either in /state, or empty for the place of its consumer group in Kafka.
set -eu
at="-m ${JOBMANAGER:-flink-jobmanager:8081}"
running=$(/opt/flink/bin/flink list -r $at)
if echo "$running" | grep -q vigilane-fan-out; then
  echo "it runs already"
  exit 0
fi
from=${RESTORE_FROM:-}
if [ "$from" = latest ]; then
  from=$(find /state -name _metadata -printf '%T@ %h\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)
fi
# Without the partitions' places in it, say after a change of job.sql, a savepoint would be refused: then start with RESTORE_FROM empty.
exec /opt/flink/bin/flink run -d $at ${from:+-s "$from"} /opt/vigilane/vigilane-flink.jar /opt/vigilane/job.sql
