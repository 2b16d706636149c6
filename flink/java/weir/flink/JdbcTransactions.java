// SPDX-License-Identifier: Apache-2.0
package weir.flink;

import java.io.IOException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import org.apache.flink.api.common.TaskInfo;
import org.apache.flink.api.connector.sink2.Committer;
import org.apache.flink.api.connector.sink2.CommitterInitContext;
import org.apache.flink.api.connector.sink2.CommittingSinkWriter;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.StatefulSinkWriter;
import org.apache.flink.api.connector.sink2.SupportsCommitter;
import org.apache.flink.api.connector.sink2.SupportsWriterState;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.streaming.api.functions.sink.filesystem.bucketassigners.SimpleVersionedStringSerializer;
import org.apache.flink.types.Row;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Rows into a table of PostgreSQL by plain INSERT, each once: each task has a transaction from one checkpoint to the next.
 *
 * <pre>
 *     INSERT, INSERT, ... | checkpoint 7: PREPARE TRANSACTION 'weir 6 0 4711 s.t' | it is complete: COMMIT PREPARED
 * </pre>
 *
 * <p>Names say where a transaction belongs: begun after checkpoint 6 by task 0, 4711 to PostgreSQL, of table s.t. So a job that goes on
 * from checkpoint 6 knows that it is none of those that are to be committed, and rolls it back; and a transaction that is not
 * there any more when it is to be committed was committed before, or the job stops. The connector's own sink for XA gives the
 * transactions of two tables the same names, and takes no other number of tasks.
 *
 * <p>Before it looks for such a task ends the sessions of attempts before it, which might prepare one later: each session has an advisory
 * lock, (table, task), until it ends. {@code PREPARE TRANSACTION} leaves locks of the session where they are.
 */
final class JdbcTransactions implements Sink<Row>, SupportsCommitter<String>, SupportsWriterState<Row, String> {
    private static final long serialVersionUID = 1;
    private static final Logger LOG = LoggerFactory.getLogger(JdbcTransactions.class);
    private static final int BATCH_ROWS = 5000;
    private static final int NAME_PARTS = 5;
    private static final int END_S = 30; // a session that is ended has so long
    private static final String NO_SUCH = "42704"; // undefined_object
    private static final String NOT_ALLOWED = "42501"; // insufficient_privilege
    private static final String LOCKED = "55P03"; // lock_not_available

    private final String url;
    private final Properties properties;
    private final String insert;
    private final List<ResultTable.Column> columns;
    private final String table;

    /** @param table as names of transactions have it */
    JdbcTransactions(String url, Properties properties, String insert, List<ResultTable.Column> columns, String table) {
        this.url = url;
        this.properties = properties;
        this.insert = insert;
        this.columns = columns;
        this.table = table;
    }

    @Override
    public Writer createWriter(WriterInitContext context) throws IOException {
        return new Writer(context.getTaskInfo(), context.getRestoredCheckpointId().orElse(0));
    }

    @Override
    public Writer restoreWriter(WriterInitContext context, Collection<String> states) throws IOException {
        return createWriter(context);
    }

    @Override
    public Committer<String> createCommitter(CommitterInitContext context) {
        return new Commits();
    }

    @Override
    public SimpleVersionedSerializer<String> getCommittableSerializer() {
        return SimpleVersionedStringSerializer.INSTANCE;
    }

    @Override
    public SimpleVersionedSerializer<String> getWriterStateSerializer() {
        return SimpleVersionedStringSerializer.INSTANCE;
    }

    private static String quoted(String text) {
        return '\'' + text.replace("'", "''") + '\'';
    }

    private static String one(Connection c, String query) throws SQLException {
        try (Statement s = c.createStatement();
                ResultSet found = s.executeQuery(query)) {
            return found.next() ? found.getString(1) : null;
        }
    }

    /** Without timeouts of the server's, where it has them: from one checkpoint to the next there may be no rows. */
    private Connection connect() throws SQLException {
        Connection c = DriverManager.getConnection(url, properties);
        try (Statement s = c.createStatement()) {
            s.execute("SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN"
                    + " ('idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')");
        } catch (SQLException e) {
            c.close();
            throw e;
        }
        return c;
    }

    /** Of a batch the text has all rows; why it failed is in the next one. */
    private IOException failed(String doing, SQLException e) {
        SQLException why = e.getNextException() != null ? e.getNextException() : e;
        return new IOException("table '" + table + "': " + doing + ": " + why.getMessage(), why);
    }

    /** Has no state, but is told of checkpoints so. */
    private final class Writer implements StatefulSinkWriter<Row, String>, CommittingSinkWriter<Row, String> {
        private final int task;
        private final Connection connection;
        private final PreparedStatement statement;
        private long begun; // after this checkpoint
        private int waiting; // rows
        private boolean empty = true; // so is the transaction

        Writer(TaskInfo info, long restored) throws IOException {
            task = info.getIndexOfThisSubtask();
            begun = restored;
            boolean ready = false;
            try {
                connection = connect();
            } catch (SQLException e) {
                throw failed("cannot be written", e);
            }
            try {
                endEarlier(info.getNumberOfParallelSubtasks());
                rollBack(info.getNumberOfParallelSubtasks());
                connection.setAutoCommit(false);
                statement = connection.prepareStatement(insert);
                ready = true;
            } catch (SQLException e) {
                throw failed("cannot be written", e);
            } finally {
                if (!ready) {
                    end();
                }
            }
        }

        private void end() {
            try {
                connection.close();
            } catch (SQLException e) {
                LOG.info("table '{}': {}", table, e.getMessage());
            }
        }

        /** Nobody else has the locks of this task, or of earlier tasks that are its share. */
        private void endEarlier(int tasks) throws SQLException {
            String key = "hashtext(" + quoted("weir " + table) + ")";
            Set<Integer> numbers = new TreeSet<>(Set.of(task));
            Set<Integer> sessions = new TreeSet<>();
            try (Statement s = connection.createStatement();
                    ResultSet found = s.executeQuery("SELECT objid, pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2"
                            + " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                            + " AND classid::bigint = (" + key + "::bigint & 4294967295)"
                            + " AND objid::bigint % " + tasks + " = " + task)) {
                while (found.next()) {
                    numbers.add(found.getInt(1));
                    sessions.add(found.getInt(2));
                }
            }
            for (int session : sessions) {
                terminate(session);
            }
            try (Statement s = connection.createStatement()) {
                s.execute("SET lock_timeout = '" + END_S + "s'");
                for (int number : numbers) {
                    s.execute("SELECT pg_advisory_lock(" + key + ", " + number + ")");
                }
                s.execute("RESET lock_timeout");
            } catch (SQLException e) {
                if (!LOCKED.equals(e.getSQLState())) {
                    throw e;
                }
                throw new SQLException("task " + task + ": an earlier attempt has not ended within " + END_S
                        + " s, and might prepare transactions: its sessions of PostgreSQL, to be ended by pg_terminate_backend, are "
                        + sessions, LOCKED, e);
            }
        }

        private void terminate(int session) throws SQLException {
            LOG.info("table '{}': session {} of PostgreSQL is ended: it is of an earlier attempt", table, session);
            try {
                one(connection, "SELECT pg_terminate_backend(" + session + ")");
            } catch (SQLException e) {
                if (!NOT_ALLOWED.equals(e.getSQLState())) {
                    throw e;
                }
                LOG.warn("table '{}': session {} is another user's, and is waited for: {}", table, session, e.getMessage());
            }
        }

        /** What was prepared after the checkpoint from which the job goes on comes once more. Of earlier tasks each has a share. */
        private void rollBack(int tasks) throws SQLException {
            List<String> left = new ArrayList<>();
            try (Statement s = connection.createStatement();
                    ResultSet found = s.executeQuery("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
                            + " AND gid ~ '^weir [0-9]+ [0-9]+ [0-9]+ '")) {
                while (found.next()) {
                    String[] part = found.getString(1).split(" ", NAME_PARTS);
                    if (part.length == NAME_PARTS && part[NAME_PARTS - 1].equals(table)
                            && Integer.parseInt(part[2]) % tasks == task && Long.parseLong(part[1]) >= begun) {
                        left.add(found.getString(1));
                    }
                }
            }
            for (String name : left) {
                LOG.info("table '{}': transaction '{}' is rolled back, as it is of no checkpoint", table, name);
                try (Statement s = connection.createStatement()) {
                    s.execute("ROLLBACK PREPARED " + quoted(name));
                }
            }
        }

        @Override
        public void write(Row row, Context context) throws IOException {
            try {
                JdbcTables.fill(statement, row, columns);
                statement.addBatch();
                if (++waiting >= BATCH_ROWS) {
                    send();
                }
            } catch (SQLException e) {
                throw failed("cannot be written", e);
            }
        }

        private void send() throws SQLException {
            statement.executeBatch();
            empty = false;
            waiting = 0;
        }

        @Override
        public void flush(boolean endOfInput) {
            // what waits is sent before a checkpoint
        }

        @Override
        public Collection<String> prepareCommit() throws IOException {
            try {
                if (waiting > 0) {
                    send();
                }
                if (empty) {
                    return List.of();
                }
                String name = "weir " + begun + " " + task + " " + one(connection, "SELECT txid_current()") + " " + table;
                try (Statement s = connection.createStatement()) {
                    s.execute("PREPARE TRANSACTION " + quoted(name));
                }
                empty = true;
                return List.of(name);
            } catch (SQLException e) {
                throw failed("a transaction cannot be prepared", e);
            }
        }

        @Override
        public List<String> snapshotState(long checkpoint) {
            begun = checkpoint;
            return List.of();
        }

        @Override
        public void close() throws SQLException {
            connection.close(); // what is not prepared is gone
        }
    }

    private final class Commits implements Committer<String> {
        private Connection connection; // null: there is none yet

        @Override
        public void commit(Collection<CommitRequest<String>> requests) throws IOException {
            for (CommitRequest<String> request : requests) {
                try {
                    commit(request);
                } catch (SQLException e) {
                    throw failed("transaction '" + request.getCommittable() + "' cannot be committed", e);
                }
            }
        }

        private void commit(CommitRequest<String> request) throws SQLException {
            String name = request.getCommittable();
            if (connection == null) {
                connection = connect();
            }
            try (Statement s = connection.createStatement()) {
                s.execute("COMMIT PREPARED " + quoted(name));
            } catch (SQLException e) {
                if (!NO_SUCH.equals(e.getSQLState())) {
                    throw e;
                }
                String status = one(connection, "SELECT txid_status(" + name.split(" ", NAME_PARTS)[3] + ")");
                if (status == null) {
                    throw new SQLException(
                            "it is not there, and too old to be known: look whether its rows are there (docs/flink.md)", NO_SUCH, e);
                }
                if (!"committed".equals(status)) {
                    throw e;
                }
                request.signalAlreadyCommitted(); // before the failure
            }
        }

        @Override
        public void close() throws SQLException {
            if (connection != null) {
                connection.close();
            }
        }
    }
}
