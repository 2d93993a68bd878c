package vigilane.flink;

import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;

/**
 * A detection as one task for each of its groups: the same groups, task ids, members and pictures as those of the bridge
 * (src/bridge/read-detection.ts, groups-to-tasks.ts, group-to-task-message.ts). Pure: the same detection at the same place gives the
 * same tasks, so that admission knows one that comes twice.
 */
final class GroupTasks {
  /** Of one message, in bytes: brokers take 1 MiB. */
  static final int MOST_BYTES = 900_000;

  private static final int MOST_ID = 200;
  private static final Pattern PREFIX = Pattern.compile("^data:image/[a-z+.-]+;base64,", Pattern.CASE_INSENSITIVE);
  private static final Pattern HASH = Pattern.compile("[0-9a-f]{16}");
  /** Half of a pair is no character in UTF-8. */
  private static final Pattern LONE = Pattern.compile("[\\ud800-\\udfff]");
  private static final DateTimeFormatter MILLIS =
      DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);
  private static final String[] FEATURES = {
    "vulnerableToVehiclePx", "vulnerableToVehicleHeights", "closingSpeedPxPerSecond", "maxOverlap"
  };

  /** One message of the tasks topic. */
  record Task(String key, String value, boolean withoutPicture) {}

  /** It is no detection: no JSON, no camera, or no list of groups. */
  static final class Unreadable extends Exception {
    Unreadable(String why) {
      super(why);
    }
  }

  private record Image(int place, int groupIndex, JsonNode entry) {}

  /** `entry`: null where only a picture is known of the group, or where it cannot be read (`readable` false). */
  private record Group(int groupIndex, JsonNode entry, boolean readable, JsonNode box) {}

  private final JsonNode detection;
  private final List<JsonNode> objects = new ArrayList<>();
  private final String messageId;
  private final JsonNode camera;
  private final String timestamp;

  private GroupTasks(JsonNode detection, String place, Instant appended) throws Unreadable {
    this.detection = detection;
    camera = detection.get("cameraId");
    boolean named = Json.isText(camera) && !camera.textValue().isEmpty() && camera.textValue().length() <= MOST_ID;
    if (!named && !Json.isNumber(camera)) throw new Unreadable("cameraId is neither text nor a number");
    JsonNode id = detection.get("messageId");
    boolean known = Json.isText(id) && !id.textValue().isEmpty() && id.textValue().length() <= MOST_ID;
    messageId = known ? id.textValue() : place;
    JsonNode time = detection.get("timestamp");
    timestamp = Json.isText(time) ? time.textValue() : MILLIS.format(appended);
    // By index; null: that object cannot be read.
    for (JsonNode object : Json.list(detection.get("detectedObjects"))) objects.add(isDetected(object) ? object : null);
  }

  /**
   * None: the frame has no groups. `place`: names a detection that has no id of its own.
   *
   * @throws Unreadable also for text that is no JSON
   */
  static List<Task> of(String text, String place, Instant appended) throws Unreadable {
    try {
      JsonNode json = Json.read(text);
      if (!json.isObject()) throw new Unreadable("no object");
      return new GroupTasks(json, place, appended).tasks();
    } catch (JsonProcessingException error) {
      throw new Unreadable("no JSON: " + error.getOriginalMessage());
    } catch (StackOverflowError error) {
      throw new Unreadable("too deep");
    }
  }

  private List<Task> tasks() throws Unreadable, JsonProcessingException {
    List<Image> images = images();
    List<Task> tasks = new ArrayList<>();
    Map<Integer, Integer> seen = new HashMap<>();
    for (Group group : groups(images)) {
      int nth = seen.merge(group.groupIndex(), 1, Integer::sum);
      String taskId = messageId + "_group" + group.groupIndex() + (nth > 1 ? "_" + nth : "");
      tasks.add(task(group, taskId, imageOf(group.groupIndex(), nth, images)));
    }
    return tasks;
  }

  private List<Group> groups(List<Image> images) throws Unreadable {
    JsonNode listed = detection.get("trafficGroups");
    boolean there = listed != null && listed.isArray();
    if (!there && Json.list(detection.get("groupImages")).isEmpty()) throw new Unreadable("there is no list of groups");
    List<Group> groups = new ArrayList<>();
    if (there && !listed.isEmpty()) {
      for (JsonNode entry : listed) groups.add(groupOf(entry, groups.size() + 1));
      return groups;
    }
    // Images alone are groups too, as they are for the older task generator.
    for (Image image : images) {
      JsonNode box = image.entry().get("bbox");
      groups.add(new Group(image.groupIndex(), null, true, Json.isBox(box) ? box : null));
    }
    return groups;
  }

  private static Group groupOf(JsonNode entry, int place) {
    JsonNode index = entry.get("groupIndex");
    boolean numbered = isIndex(index);
    boolean readable = numbered && Json.isBox(entry.get("bbox"));
    return new Group(numbered ? (int) index.doubleValue() : place, readable ? entry : null, readable, null);
  }

  private List<Image> images() {
    List<Image> images = new ArrayList<>();
    Map<Integer, Integer> seen = new HashMap<>();
    for (JsonNode entry : Json.list(detection.get("groupImages"))) {
      if (!isIndex(entry.get("groupIndex"))) continue;
      int index = (int) entry.get("groupIndex").doubleValue();
      images.add(new Image(seen.merge(index, 1, Integer::sum), index, entry));
    }
    return images;
  }

  /** Of several groups with one index the nth has the nth image, as far as there are so many. */
  private static JsonNode imageOf(int groupIndex, int nth, List<Image> images) {
    JsonNode first = null;
    for (Image image : images) {
      if (image.groupIndex() != groupIndex) continue;
      if (image.place() == nth) return image.entry();
      if (first == null) first = image.entry();
    }
    return first;
  }

  private Task task(Group group, String taskId, JsonNode image) throws JsonProcessingException {
    ObjectNode task = Json.NODES.objectNode();
    task.put("messageId", taskId + "_task").put("taskId", taskId).put("requestId", messageId);
    task.set("cameraId", Json.clean(camera));
    task.put("timestamp", timestamp).put("groupIndex", group.groupIndex());
    // A group that cannot be read has no verdict by either way: without its picture the reader says so.
    task.put("groupImageBase64", group.readable() ? PREFIX.matcher(textOf(image, "imageBase64")).replaceFirst("") : "");
    task.put("groupImageUrl", group.readable() ? textOf(image, "imageUrl") : "");
    ArrayNode members = task.putArray("detectedObjects");
    ArrayNode indices = Json.NODES.arrayNode();
    for (int i : membersOf(group)) {
      members.add(Json.clean(objects.get(i)));
      indices.add(i);
    }
    task.set("groupMetadata", metadataOf(group));
    task.set("memberIndices", indices);
    for (String name : new String[] {"capturedAt", "detectedAt"}) {
      if (Json.isText(detection.get(name))) task.set(name, detection.get(name));
    }
    for (String name : new String[] {"imageWidth", "imageHeight"}) {
      JsonNode pixels = detection.get(name);
      task.set(name, Json.isNumber(pixels) ? Json.clean(pixels) : Json.NODES.numberNode(0));
    }
    String hash = textOf(image, "imageHash");
    if (HASH.matcher(hash).matches()) task.put("imageHash", hash);
    JsonNode features = featuresOf(group.entry());
    if (features != null) task.set("features", features);
    return fitting(task);
  }

  /** All objects where the group names none, as in the older generator's tasks. */
  private Set<Integer> membersOf(Group group) {
    Set<Integer> members = new LinkedHashSet<>();
    if (!group.readable()) return members;
    List<JsonNode> named = new ArrayList<>();
    if (group.entry() != null) {
      named = Json.list(group.entry().get("memberIndices"));
      if (!named.stream().allMatch(Json::isInteger)) named = List.of();
    }
    if (named.isEmpty()) for (int i = 0; i < objects.size(); i += 1) members.add(i);
    for (JsonNode index : named) {
      double place = index.doubleValue();
      if (place >= 0 && place < objects.size()) members.add((int) place);
    }
    members.removeIf(i -> objects.get(i) == null);
    return members;
  }

  private static ObjectNode metadataOf(Group group) {
    ObjectNode metadata = Json.NODES.objectNode();
    JsonNode entry = group.entry();
    JsonNode count = entry == null ? null : entry.get("objectCount");
    metadata.set("objectCount", Json.isInteger(count) ? Json.clean(count) : Json.NODES.numberNode(0));
    ArrayNode classes = metadata.putArray("classes");
    List<JsonNode> names = entry == null ? List.of() : Json.list(entry.get("classes"));
    if (names.stream().allMatch(Json::isText)) names.forEach(classes::add);
    JsonNode box = entry == null ? group.box() : entry.get("bbox");
    ArrayNode noBox = Json.NODES.arrayNode();
    if (group.readable()) noBox.add(0).add(0).add(0).add(0);
    metadata.set("bbox", box == null ? noBox : Json.clean(box));
    return metadata;
  }

  private static JsonNode featuresOf(JsonNode entry) {
    JsonNode found = entry == null ? null : entry.get("features");
    if (found == null || !found.isObject()) return null;
    ObjectNode features = Json.NODES.objectNode();
    for (String name : FEATURES) {
      JsonNode value = found.get(name);
      boolean none = value != null && !name.equals("maxOverlap") && (value.isNull() || (value.isNumber() && !Json.isNumber(value)));
      if (!none && !Json.isNumber(value)) return null;
      features.set(name, none ? Json.NODES.nullNode() : Json.clean(value));
    }
    return features;
  }

  /** Without its picture where it would be larger than brokers take, and without all that is not needed where that is not enough. */
  private Task fitting(ObjectNode task) throws JsonProcessingException {
    String key = Json.isText(camera) ? LONE.matcher(camera.textValue()).replaceAll("\ufffd") : Json.numberText(camera);
    String value = Json.write(task);
    if (value.length() <= MOST_BYTES) return new Task(key, value, false);
    value = Json.write(task.put("groupImageBase64", ""));
    if (value.length() > MOST_BYTES) {
      task.put("groupImageUrl", "").put("timestamp", timestamp.substring(0, Math.min(300, timestamp.length())));
      task.putArray("detectedObjects");
      task.putArray("memberIndices");
      task.putObject("groupMetadata").put("objectCount", 0).putArray("classes");
      task.remove(List.of("capturedAt", "detectedAt"));
      value = Json.write(task);
    }
    return new Task(key, value, true);
  }

  private static boolean isDetected(JsonNode object) {
    JsonNode track = object.get("trackId");
    return Json.isText(object.get("class"))
        && Json.isNumber(object.get("confidence"))
        && Json.isBox(object.get("bbox"))
        && (track == null || Json.isInteger(track));
  }

  private static boolean isIndex(JsonNode node) {
    return Json.isInteger(node) && Math.abs(node.doubleValue()) <= Integer.MAX_VALUE;
  }

  private static String textOf(JsonNode entry, String name) {
    JsonNode text = entry == null ? null : entry.get(name);
    return Json.isText(text) ? text.textValue() : "";
  }
}
