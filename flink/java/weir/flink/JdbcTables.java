// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFilterFunction;
import org.apache.flink.connector.jdbc.JdbcConnectionOptions;
import org.apache.flink.connector.jdbc.JdbcExecutionOptions;
import org.apache.flink.connector.jdbc.core.datastream.sink.JdbcSink;
import org.apache.flink.metrics.Counter;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.types.Row;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * {@code postgresql:} of the server, by Flink's connector for JDBC: rows take the place of those with the same primary key. After a
 * failure rows since the last checkpoint are written once more, to the same places. Or by plain inserts, in transactions.
 */
final class JdbcTables {
    private static final int BATCH_ROWS = 5000;
    private static final long BATCH_MS = 200;
    private static final int RETRIES = 3;

    /** Keywords of libpq that the driver for Java knows, too, and how it calls them. */
    private static final Map<String, String> DRIVER = Map.of(
            "user", "user", "password", "password", "sslmode", "sslmode", "sslrootcert", "sslrootcert", "sslcert", "sslcert",
            "sslkey", "sslkey", "connect_timeout", "connectTimeout", "application_name", "ApplicationName");

    private final String url;
    private final Properties properties = new Properties();
    private final String schema;

    JdbcTables(Settings s) {
        String prefix = "postgresql.connect.";
        String host = s.get(prefix + "host");
        if (host == null || host.startsWith("/") || host.contains(",")) {
            throw new WeirException("'postgresql': the driver for Java needs 'host', the name of one");
        }
        url = "jdbc:postgresql://" + (host.contains(":") ? "[" + host + "]" : host) + ":"
                + (s.get(prefix + "port") == null ? "5432" : s.get(prefix + "port")) + "/"
                + (s.get(prefix + "dbname") == null ? "" : s.get(prefix + "dbname"));
        for (String keyword : s.names(prefix)) {
            if (DRIVER.containsKey(keyword)) {
                properties.setProperty(DRIVER.get(keyword), s.get(prefix + keyword));
            } else if (!List.of("host", "port", "dbname").contains(keyword)) {
                throw new WeirException("'postgresql': the driver for Java has no '" + keyword + "'");
            }
        }
        if (s.get("postgresql.shard") != null) {
            throw new WeirException("'postgresql': 'shard' is for several servers: a job of Flink is one");
        }
        if (s.get("postgresql.password_file") != null) {
            properties.setProperty("password", Settings.file(s.get("postgresql.password_file")));
        }
        schema = s.get("postgresql.schema");
    }

    /** Tables that are not there yet are made; a table that is there has the columns and the primary key of this one. */
    void make(List<ResultTable> tables) throws SQLException {
        try (Connection c = DriverManager.getConnection(url, properties);
                Statement s = c.createStatement()) {
            s.execute("CREATE SCHEMA IF NOT EXISTS " + quoted(schema));
            for (ResultTable table : tables) {
                String columns = table.columns().stream()
                        .map(column -> quoted(column.name()) + " " + type(column.type()) + (column.nullable() ? "" : " NOT NULL"))
                        .collect(Collectors.joining(", "));
                s.execute("CREATE TABLE IF NOT EXISTS " + name(table) + " (" + columns + ", PRIMARY KEY (" + key(table) + "))");
            }
        }
    }

    void put(DataStream<Row> rows, ResultTable table) {
        List<ResultTable.Column> columns = table.columns();
        JdbcConnectionOptions.JdbcConnectionOptionsBuilder to =
                new JdbcConnectionOptions.JdbcConnectionOptionsBuilder().withUrl(url).withDriverName("org.postgresql.Driver");
        properties.stringPropertyNames().forEach(name -> to.withProperty(name, properties.getProperty(name)));
        rows.filter(new Storable(table))
                .uid("weir-storable-" + table.name())
                .sinkTo(JdbcSink.<Row>builder()
                        .withQueryStatement(upsert(table), (statement, row) -> fill(statement, row, columns))
                        .withExecutionOptions(JdbcExecutionOptions.builder()
                                .withBatchSize(BATCH_ROWS).withBatchIntervalMs(BATCH_MS).withMaxRetries(RETRIES).build())
                        .buildAtLeastOnce(to.build()))
                .name("postgresql " + table.name())
                .uid("weir-postgresql-" + table.name());
    }

    /** Plain inserts, each row once, in transactions that end with checkpoints; see {@link JdbcTransactions}. */
    void insert(DataStream<Row> rows, ResultTable table) {
        rows.filter(new Storable(table))
                .uid("weir-storable-" + table.name())
                .sinkTo(transactions(table))
                .name("postgresql " + table.name())
                .uid("weir-inserts-" + table.name()); // Flink refuses savepoints of upserts, and the other way round
    }

    JdbcTransactions transactions(ResultTable table) {
        Properties batches = new Properties();
        batches.putAll(properties);
        batches.setProperty("reWriteBatchedInserts", "true");
        batches.setProperty("tcpKeepAlive", "true");
        return new JdbcTransactions(url, batches, insertInto(table), table.columns(), schema + "." + table.name());
    }

    /** Each task may have two transactions that are prepared, one of them on its way to be committed. */
    void requirePrepared(int tables, int tasks) throws SQLException {
        int needed = 2 * tables * tasks;
        try (Connection c = DriverManager.getConnection(url, properties);
                Statement s = c.createStatement();
                ResultSet setting = s.executeQuery("SHOW max_prepared_transactions")) {
            setting.next();
            if (setting.getInt(1) < needed) {
                throw new WeirException("--exactly-once: PostgreSQL's max_prepared_transactions is " + setting.getInt(1) + ", and "
                        + tables + " tables of " + tasks + " tasks need " + needed);
            }
        }
    }

    /** PostgreSQL has no texts with a zero in them; such rows are left out, counted and, the first ones, told. */
    private static final class Storable extends RichFilterFunction<Row> {
        private static final long serialVersionUID = 1;
        private static final Logger LOG = LoggerFactory.getLogger(JdbcTables.class);
        private static final int TOLD = 10;

        private final ResultTable table;
        private transient Counter leftOut;

        Storable(ResultTable table) {
            this.table = table;
        }

        @Override
        public void open(OpenContext context) {
            leftOut = getRuntimeContext().getMetricGroup().addGroup("weir").counter("leftOut");
        }

        @Override
        public boolean filter(Row row) {
            for (int i = 0; i < row.getArity(); i++) {
                if (row.getField(i) instanceof String text && text.indexOf('\0') >= 0) {
                    leftOut.inc();
                    if (leftOut.getCount() <= TOLD) {
                        LOG.warn("table '{}': a row is left out, as PostgreSQL has no texts with a zero: '{}'", table.name(),
                                table.columns().get(i).name());
                    }
                    return false;
                }
            }
            return true;
        }
    }

    static void fill(PreparedStatement statement, Row row, List<ResultTable.Column> columns) throws SQLException {
        for (int i = 0; i < columns.size(); i++) {
            Object value = row.getField(i);
            statement.setObject(i + 1, value instanceof Instant t ? t.atOffset(ZoneOffset.UTC) : value, sqlType(columns.get(i).type()));
        }
    }

    private String insertInto(ResultTable table) {
        List<ResultTable.Column> columns = table.columns();
        return "INSERT INTO " + name(table) + " ("
                + columns.stream().map(c -> quoted(c.name())).collect(Collectors.joining(", "))
                + ") VALUES (" + columns.stream().map(c -> "?").collect(Collectors.joining(", ")) + ")";
    }

    private String upsert(ResultTable table) {
        Stream<String> others = table.columns().stream().filter(c -> !c.primary()).map(c -> quoted(c.name()));
        return insertInto(table) + " ON CONFLICT (" + key(table) + ") DO UPDATE SET "
                + others.map(c -> c + " = EXCLUDED." + c).collect(Collectors.joining(", "));
    }

    private String name(ResultTable table) {
        return quoted(schema) + "." + quoted(table.name());
    }

    private static String key(ResultTable table) {
        return table.columns().stream().filter(ResultTable.Column::primary).map(c -> quoted(c.name()))
                .collect(Collectors.joining(", "));
    }

    private static String quoted(String name) {
        return '"' + name.replace("\"", "\"\"") + '"';
    }

    private static String type(ResultTable.Type type) {
        switch (type) {
            case INT:
                return "bigint";
            case FLOAT:
                return "double precision";
            case BOOL:
                return "boolean";
            case TIME:
                return "timestamptz";
            default:
                return "text";
        }
    }

    private static int sqlType(ResultTable.Type type) {
        switch (type) {
            case INT:
                return java.sql.Types.BIGINT;
            case FLOAT:
                return java.sql.Types.DOUBLE;
            case BOOL:
                return java.sql.Types.BOOLEAN;
            case TIME:
                return java.sql.Types.TIMESTAMP_WITH_TIMEZONE;
            default:
                return java.sql.Types.VARCHAR;
        }
    }
}
