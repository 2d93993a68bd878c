-- detection-results → one task for each group → assessment-tasks. Run by SqlJob (README.md): ${NAME:-default} comes from the
-- environment of whoever submits it.

SET 'pipeline.name' = 'vigilane-fan-out';
-- At most as many as the detections topic has partitions; more would stand idle.
SET 'parallelism.default' = '${FLINK_PARALLELISM:-2}';
-- So much is read again after a failure. The tasks do not wait for it.
SET 'execution.checkpointing.interval' = '${FLINK_CHECKPOINT_INTERVAL:-10 s}';
SET 'execution.checkpointing.mode' = 'AT_LEAST_ONCE';
SET 'execution.checkpointing.dir' = '${FLINK_CHECKPOINTS}';
SET 'execution.checkpointing.savepoint-dir' = '${FLINK_SAVEPOINTS}';
SET 'execution.checkpointing.externalized-checkpoint-retention' = 'RETAIN_ON_CANCELLATION';
SET 'restart-strategy.type' = 'exponential-delay';
SET 'restart-strategy.exponential-delay.max-backoff' = '30 s';
-- A partition on which nothing comes does not hold the watermark back.
SET 'table.exec.source.idle-timeout' = '10 s';

CREATE TEMPORARY FUNCTION fan_out AS 'vigilane.flink.FanOut';

CREATE TEMPORARY TABLE detections (
  detection STRING,
  source_topic STRING METADATA FROM 'topic' VIRTUAL,
  source_partition INT METADATA FROM 'partition' VIRTUAL,
  source_offset BIGINT METADATA FROM 'offset' VIRTUAL,
  headers MAP<STRING, BYTES> METADATA VIRTUAL,
  appended TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  WATERMARK FOR appended AS appended - INTERVAL '5' SECOND
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS}',
  'topic' = '${DETECTIONS_TOPIC:-detection-results}',
  'properties.group.id' = '${FLINK_GROUP:-vigilane-flink}',
  'properties.isolation.level' = 'read_committed',
  -- Without a savepoint: from where the group was at its last checkpoint, and a new group from the beginning.
  'scan.startup.mode' = 'group-offsets',
  'properties.auto.offset.reset' = 'earliest',
  'scan.topic-partition-discovery.interval' = '10 s',
  'format' = 'raw'
);

CREATE TEMPORARY TABLE tasks (
  camera STRING,
  task STRING,
  headers MAP<STRING, BYTES> METADATA
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = '${KAFKA_BROKERS}',
  'topic' = '${TASKS_TOPIC:-assessment-tasks}',
  'key.format' = 'raw',
  'key.fields' = 'camera',
  'value.format' = 'raw',
  'value.fields-include' = 'EXCEPT_KEY',
  'sink.delivery-guarantee' = 'at-least-once',
  'properties.acks' = 'all',
  'properties.linger.ms' = '10',
  'properties.compression.type' = '${KAFKA_COMPRESSION:-lz4}'
);

INSERT INTO tasks
SELECT f.camera, f.task, f.headers
FROM (
  SELECT
    detection,
    CONCAT(source_topic, '-', CAST(source_partition AS STRING), '-', CAST(source_offset AS STRING)) AS place,
    headers,
    appended,
    CURRENT_WATERMARK(appended) AS up_to
  FROM detections
) AS d,
LATERAL TABLE(fan_out(d.detection, d.place, d.headers, CAST(d.appended AS TIMESTAMP_LTZ(3)), d.up_to)) AS f (camera, task, headers);
