package vigilane.flink;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.json.JsonReadFeature;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.json.JsonWriteFeature;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.DeserializationFeature;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.json.JsonMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.JsonNodeFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;

/** JSON as older producers write it (NaN, Infinity), read by the bridge's measures; the Jackson that Flink brings along. */
final class Json {
  /** Integers up to here are the same number in every reader. */
  private static final double SAFE = 9_007_199_254_740_991.0;

  private static final JsonMapper MAPPER =
      JsonMapper.builder()
          .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          // A lone surrogate cannot be written in UTF-8; as an escape it comes out as it went in.
          .enable(JsonWriteFeature.ESCAPE_NON_ASCII)
          .build();

  static final JsonNodeFactory NODES = JsonNodeFactory.instance;

  private Json() {}

  static JsonNode read(String text) throws JsonProcessingException {
    return MAPPER.readTree(text);
  }

  static String write(JsonNode node) throws JsonProcessingException {
    return MAPPER.writeValueAsString(node);
  }

  /** NaN and Infinity are no numbers, here as in the bridge, where they are null. */
  static boolean isNumber(JsonNode node) {
    return node != null && node.isNumber() && Double.isFinite(node.doubleValue());
  }

  /** 2.0 is one too. */
  static boolean isInteger(JsonNode node) {
    return isNumber(node) && Math.rint(node.doubleValue()) == node.doubleValue() && Math.abs(node.doubleValue()) <= SAFE;
  }

  static boolean isText(JsonNode node) {
    return node != null && node.isTextual();
  }

  static boolean isBox(JsonNode node) {
    if (node == null || !node.isArray() || node.size() != 4) return false;
    for (JsonNode number : node) if (!isNumber(number)) return false;
    return true;
  }

  static List<JsonNode> list(JsonNode node) {
    List<JsonNode> entries = new ArrayList<>();
    if (node != null && node.isArray()) node.forEach(entries::add);
    return entries;
  }

  /** A number as text, as the bridge's JavaScript has it: 2.0 is 2, and 1e30 is 1e+30. */
  static String numberText(JsonNode number) {
    double value = number.doubleValue();
    if (isInteger(number)) return Long.toString((long) value);
    BigDecimal exact = new BigDecimal(Double.toString(value)).stripTrailingZeros();
    int exponent = exact.precision() - exact.scale() - 1;
    if (exponent < 21 && exponent >= -6) return exact.toPlainString();
    String digits = exact.unscaledValue().abs().toString();
    String fraction = digits.length() > 1 ? "." + digits.substring(1) : "";
    return (value < 0 ? "-" : "") + digits.charAt(0) + fraction + (exponent < 0 ? "e-" : "e+") + Math.abs(exponent);
  }

  /** Whole numbers as such, and null for what is no number, however deep it stands. */
  static JsonNode clean(JsonNode node) {
    if (node.isNumber()) {
      if (!isNumber(node)) return NODES.nullNode();
      return isInteger(node) ? NODES.numberNode((long) node.doubleValue()) : node;
    }
    if (node.isArray()) {
      ArrayNode array = NODES.arrayNode(node.size());
      node.forEach(entry -> array.add(clean(entry)));
      return array;
    }
    if (node.isObject()) {
      ObjectNode object = NODES.objectNode();
      node.properties().forEach(field -> object.set(field.getKey(), clean(field.getValue())));
      return object;
    }
    return node;
  }
}
