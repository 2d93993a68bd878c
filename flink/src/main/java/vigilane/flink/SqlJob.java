package vigilane.flink;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableResult;

/**
 * Runs a file of SQL, for which Flink's SQL client is too much: {@code flink run -d vigilane-flink.jar job.sql}. As in the client, a
 * statement ends with a semicolon at a line's end, and {@code SET 'name' = 'value';} is a setting of Flink. {@code ${NAME:-default}} is
 * taken from the environment of whoever submits.
 */
public final class SqlJob {
  private static final Pattern VARIABLE = Pattern.compile("\\$\\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\\}");
  private static final Pattern SET = Pattern.compile("SET\\s+'([^']+)'\\s*=\\s*'([^']*)'", Pattern.CASE_INSENSITIVE);

  private SqlJob() {}

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 1) throw new IllegalArgumentException("which file of SQL?");
    Configuration configuration = new Configuration();
    List<String> statements = new ArrayList<>();
    for (String statement : statementsOf(Files.readString(Path.of(arguments[0])), System.getenv())) {
      Matcher set = SET.matcher(statement);
      if (set.matches()) configuration.setString(set.group(1), set.group(2));
      else statements.add(statement);
    }
    TableEnvironment tables =
        TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(configuration).build());
    for (String statement : statements) {
      TableResult result = tables.executeSql(statement);
      result.getJobClient().map(JobClient::getJobID).ifPresent(id -> System.out.println("submitted " + id));
    }
  }

  static List<String> statementsOf(String text, Map<String, String> environment) {
    List<String> statements = new ArrayList<>();
    for (String part : text.replaceAll("(?m)^\\s*--.*$", "").split(";\\s*(?:\n|$)")) {
      if (!part.isBlank()) statements.add(withVariables(part.strip(), environment));
    }
    return statements;
  }

  /** An empty variable counts as missing; a quote in one would end the text that it stands in, so it is doubled. */
  private static String withVariables(String statement, Map<String, String> environment) {
    return VARIABLE
        .matcher(statement)
        .replaceAll(
            found -> {
              String value = environment.getOrDefault(found.group(1), "");
              if (value.isEmpty()) value = found.group(2);
              if (value == null) throw new IllegalArgumentException(found.group(1) + " must be set");
              return Matcher.quoteReplacement(value.replace("'", "''"));
            });
  }
}
