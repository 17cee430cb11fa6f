import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.opensearch.common.logging.LogConfigurator;
import org.opensearch.common.settings.Settings;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.Plugin;

/**
 * Runs one real OpenSearch node without its distribution: the server's jars, HTTP and the few
 * modules that log searches need.
 *
 * <p>Usage: {@code Launcher HOME [name=value ...]}; each pair is an OpenSearch setting and wins
 * over those below. The node ends on SIGTERM, after its indices are closed.
 */
public final class Launcher {
  private static final List<Class<? extends Plugin>> PLUGINS =
      List.of(
          org.opensearch.transport.Netty4Plugin.class,
          org.opensearch.analysis.common.CommonAnalysisPlugin.class,
          org.opensearch.index.mapper.MapperExtrasPlugin.class,
          org.opensearch.index.reindex.ReindexPlugin.class,
          org.opensearch.painless.PainlessPlugin.class);

  /** Node's constructor that takes plugin classes is protected. */
  private static final class LocalNode extends Node {
    LocalNode(Settings settings, Path config) {
      super(
          InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "local"),
          PLUGINS,
          true);
    }
  }

  private Launcher() {}

  public static void main(String[] arguments) throws Exception {
    if (arguments.length < 1) {
      throw new IllegalArgumentException("usage: Launcher HOME [name=value ...]");
    }
    Path home = Path.of(arguments[0]).toAbsolutePath();
    for (String folder : List.of("config", "data", "modules", "plugins")) {
      Files.createDirectories(home.resolve(folder));
    }
    Settings settings = settings(home, arguments);
    LogConfigurator.registerErrorListener();
    LogConfigurator.configureWithoutConfig(settings);

    LocalNode node = new LocalNode(settings, home.resolve("config"));
    CountDownLatch stopped = new CountDownLatch(1);
    Thread stop =
        new Thread(
            () -> {
              try {
                node.close();
                node.awaitClose(10, TimeUnit.SECONDS);
              } catch (Exception error) {
                error.printStackTrace();
              }
              stopped.countDown();
            });
    Runtime.getRuntime().addShutdownHook(stop);
    node.start();
    stopped.await();
  }

  private static Settings settings(Path home, String[] arguments) {
    Settings.Builder settings =
        Settings.builder()
            .put("path.home", home.toString())
            .put("cluster.name", "kaizen-otel")
            .put("node.name", "local")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.type", "netty4")
            .put("transport.type", "netty4")
            // A full laptop disk must not turn the indices read-only.
            .put("cluster.routing.allocation.disk.threshold_enabled", false);
    for (int i = 1; i < arguments.length; i++) {
      int equals = arguments[i].indexOf('=');
      if (equals < 1) {
        throw new IllegalArgumentException("not a name=value pair: " + arguments[i]);
      }
      settings.put(arguments[i].substring(0, equals), arguments[i].substring(equals + 1));
    }
    return settings.build();
  }
}
