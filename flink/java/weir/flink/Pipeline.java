// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.io.IOException;
import java.io.Serializable;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * A pipeline of a weir.yaml. The text travels with the job: task managers need no file but the plugins, in {@code plugin_path} or
 * {@code WEIR_PLUGIN_PATH}.
 *
 * @param file what the configuration is called in texts
 * @param config its bytes
 * @param name of the pipeline
 * @param keyGroups into which keys are dealt: Flink's maximum parallelism, for good
 */
public record Pipeline(String file, byte[] config, String name, int keyGroups) implements Serializable {
    public static Pipeline of(Path file, String name, int keyGroups) throws IOException {
        return new Pipeline(file.toString(), Files.readAllBytes(file), name, keyGroups);
    }

    long openRouter() {
        return Native.routerOpen(file, config, name, keyGroups, System.getProperty("weir.program"));
    }

    long openShard() {
        return Native.shardOpen(file, config, name, keyGroups, System.getProperty("weir.program"));
    }

    /** The tables of its results. What cannot run in Flink is refused, on the machine that submits the job, with a place in the file. */
    public List<ResultTable> tables() {
        long shard = openShard();
        try {
            return ResultTable.read(Native.shardTables(shard));
        } finally {
            Native.shardClose(shard);
        }
    }

    /** What the configuration says of where events come from and rows go to; see weir_shard_settings. */
    Settings settings() {
        long shard = openShard();
        try {
            return Settings.read(Native.shardSettings(shard));
        } finally {
            Native.shardClose(shard);
        }
    }
}
