// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.ArrayList;
import java.util.Map;
import java.util.Set;

/** What a configuration says of where events come from and rows go to: names with values, of which some have several. */
final class Settings {
    private final Map<String, List<String>> values = new LinkedHashMap<>();

    private Settings() {}

    /** What Native.shardSettings gives. */
    static Settings read(byte[] bytes) {
        Settings s = new Settings();
        String[] text = new String(bytes, StandardCharsets.UTF_8).split("\0", -1);
        for (int i = 0; i + 1 < text.length; i += 2) {
            s.values.computeIfAbsent(text[i], name -> new ArrayList<>()).add(text[i + 1]);
        }
        return s;
    }

    /** null: it is not given. */
    String get(String name) {
        return values.containsKey(name) ? values.get(name).get(0) : null;
    }

    List<String> all(String name) {
        return values.getOrDefault(name, List.of());
    }

    /** What stands behind the prefix in the names that have it. */
    Set<String> names(String prefix) {
        Set<String> names = new LinkedHashSet<>();
        for (String name : values.keySet()) {
            if (name.startsWith(prefix)) {
                names.add(name.substring(prefix.length()));
            }
        }
        return names;
    }

    /** A secret, without the end of its line; null: no file is given. */
    static String file(String path) {
        if (path == null) {
            return null;
        }
        try {
            return Files.readString(Path.of(path)).stripTrailing();
        } catch (IOException e) {
            throw new WeirException("'" + path + "' cannot be read: " + e);
        }
    }
}
