package vigilane.flink;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.TableFunction;
import org.apache.flink.types.Row;

/** The table function of job.sql: a message of the detections topic as its rows for the tasks topic, and counts of what came. */
@FunctionHint(output = @DataTypeHint("ROW<camera STRING, task STRING, headers MAP<STRING, BYTES>>"))
public final class FanOut extends TableFunction<Row> {
  private transient Counter read;
  private transient Counter unreadable;
  private transient Counter withoutGroups;
  private transient Counter late;
  private transient Counter tasks;
  private transient Counter withoutPicture;

  @Override
  public void open(FunctionContext context) {
    MetricGroup group = context.getMetricGroup().addGroup("vigilane");
    read = group.counter("detections_read");
    unreadable = group.counter("detections_unreadable");
    withoutGroups = group.counter("detections_without_groups");
    late = group.counter("detections_late");
    tasks = group.counter("tasks_written");
    withoutPicture = group.counter("tasks_too_large_for_their_picture");
  }

  /**
   * `place`: the message's own, in topic, partition and offset. `watermark`: null before there is one. A late detection is counted and
   * goes on all the same, since each group is owed a result.
   */
  public void eval(
      String detection,
      String place,
      @DataTypeHint("MAP<STRING, BYTES>") Map<String, byte[]> headers,
      @DataTypeHint("TIMESTAMP_LTZ(3)") Instant appended,
      @DataTypeHint("TIMESTAMP_LTZ(3)") Instant watermark) {
    read.inc();
    if (watermark != null && !appended.isAfter(watermark)) late.inc();
    List<GroupTasks.Task> found;
    try {
      found = GroupTasks.of(detection == null ? "" : detection, place, appended);
    } catch (GroupTasks.Unreadable error) {
      unreadable.inc();
      return;
    }
    if (found.isEmpty()) withoutGroups.inc();
    for (GroupTasks.Task task : found) {
      collect(Row.of(task.key(), task.value(), headersOf(headers)));
      tasks.inc();
      if (task.withoutPicture()) withoutPicture.inc();
    }
  }

  /** Of the detection's the trace alone: the others tell about a message of another kind. */
  private static Map<String, byte[]> headersOf(Map<String, byte[]> came) {
    Map<String, byte[]> headers = new HashMap<>();
    headers.put("schema", "assessment-task/1".getBytes(StandardCharsets.UTF_8));
    byte[] trace = came == null ? null : came.get("traceparent");
    if (trace != null) headers.put("traceparent", trace);
    return headers;
  }
}
