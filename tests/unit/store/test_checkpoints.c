/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints and keys of requests in the file, as the sqlite3 shell sees them and as a restart reads them.
 */
#include "base/clock.h"
#include "shell.h"
#include "store/restore.h"
#include "store/store.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

static struct table_column columns[] = {
    {"window_start", WEIR_TIME, "start of the window"},
    {"window_end", WEIR_TIME, "end of the window"},
    {"count", WEIR_INT, "events"},
};

static struct table table_p = {.name = "p",
                               .pipeline = "p",
                               .window = {.size_us = SECOND_US, .pane_us = SECOND_US},
                               .retain_us = INT64_MAX,
                               .n_primary = 1,
                               .n_columns = 3,
                               .column = columns};
static struct table table_q;

/* ---- A store ---------------------------------------------------------------------------------- */

static char told[4096]; /* by the store's thread; read after a flush */

static void stored(void *ctx, const char *pipeline, uint64_t position)
{
    size_t used = strlen(told);
    (void)ctx;
    snprintf(told + used, sizeof(told) - used, "%s@%llu ", pipeline,
             (unsigned long long)position);
}

static void kept(void *ctx, const char *stream, uint64_t position)
{
    stored(ctx, stream, position);
}

/* `top` of q: "p", and it reads p; NULL: a stream. */
static struct store *open_with(char *top)
{
    const struct store_options options = {.path = shell_path("weir.db"),
                                          .commit_interval_us = 3600 * SECOND_US,
                                          .stored = stored,
                                          .kept = kept};
    struct store *s;
    struct error error = {""};
    told[0] = 0;
    table_q = table_p;
    table_q.name = table_q.pipeline = "q";
    table_q.top = top;
    if (store_open(&options, NULL, &s, &error) || store_table(s, &table_p, &error) ||
        store_table(s, &table_q, &error) || store_start(s, &error))
        fail_msg("%s", error.text);
    return s;
}

static struct store *open_store(void)
{
    return open_with(NULL);
}

static void put_row(struct store *s, const char *pipeline, int64_t start_us,
                    uint64_t position)
{
    struct rowset *r;
    assert_int_equal(rowset_new(*pipeline == 'p' ? &table_p : &table_q, 1, &r), 0);
    struct weir_cell *c = rowset_row(r);
    c[0] = (struct weir_cell){.type = WEIR_TIME, .as.i = start_us};
    cell_put_int(&c[2], 1);
    const struct store_report report = {pipeline, 0, 1, position, start_us, r};
    assert_int_equal(store_put(s, &report), 0);
}

struct part {
    uint64_t number, position;
    unsigned worker, workers;
    bool whole;
    const char *
        blocks; /* "0=a 3=b 5=": data of block 0 and 3; block 5 holds nothing any more */
};

static void add_block(struct checkpoint *c, uint32_t number, const char *data,
                      size_t size)
{
    struct checkpoint_block *b = &c->block[c->n_blocks++];
    *b = (struct checkpoint_block){.number = number, .size = (uint32_t)size};
    if (!size)
        return;
    b->data = malloc(size);
    memcpy(b->data, data, size);
}

static int put_part(struct store *s, const char *pipeline, struct part p)
{
    struct checkpoint *c = calloc(1, sizeof(*c));
    c->number = p.number;
    c->position = p.position;
    c->worker = p.worker;
    c->workers = p.workers;
    c->whole = p.whole;
    c->groups = 10 + p.worker;
    c->block = calloc(16, sizeof(*c->block));
    for (const char *at = p.blocks; *at;) {
        char *data;
        uint32_t number = (uint32_t)strtoul(at, &data, 10);
        size_t size = strcspn(++data, " ");
        add_block(c, number, data, size);
        at = data + size;
    }
    if (p.worker == 0) {
        char marks[32];
        c->marks_size = (size_t)snprintf(marks, sizeof(marks), "marks of %llu",
                                         (unsigned long long)p.number);
        c->marks = strdup(marks);
        c->stream = strdup("s");
        c->definition = strdup("definition");
    }
    return store_put_checkpoint(s, pipeline, c);
}

static const char *states(void)
{
    return shell("weir.db",
                 "SELECT pipeline, position, groups, group_concat(worker_block) FROM ("
                 "SELECT c.pipeline, c.position, c.groups, (s.id >> 32 & 255) || '/' ||"
                 " (s.id & 4294967295) || '=' || CAST(s.data AS TEXT) AS worker_block"
                 " FROM weir_checkpoints AS c LEFT JOIN weir_states AS s"
                 " ON s.id >> 40 = c.number ORDER BY s.id) GROUP BY 1 ORDER BY 1");
}

/* ---- Parts ------------------------------------------------------------------------------------ */

static void a_checkpoint_is_there_once_all_its_parts_are(void **state)
{
    (void)state;
    struct store *s = open_store();
    put_part(s, "p", (struct part){1, 10, 1, 3, true, "0=x"});
    put_part(s, "p", (struct part){1, 10, 0, 3, true, "0=a 1=b"});
    put_row(s, "p", 5, 10);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(shell("weir.db", "SELECT count(*) FROM p"), "1\n");
    assert_string_equal(states(), "");
    assert_string_equal(told, "");
    put_part(s, "p", (struct part){1, 10, 2, 3, true, ""});
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(states(), "p|10|33|0/0=a,0/1=b,1/0=x\n");
    assert_string_equal(told, "p@10 ");
    store_free(s);
}

static void only_blocks_that_are_said_change(void **state)
{
    (void)state;
    struct store *s = open_store();
    put_part(s, "p", (struct part){1, 10, 0, 1, true, "0=a 1=b 2=c"});
    assert_int_equal(store_flush(s), 0);
    put_part(s, "p", (struct part){2, 20, 0, 1, false, "1= 2=d 7=e"});
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(states(), "p|20|10|0/0=a,0/2=d,0/7=e\n");
    put_part(s, "p", (struct part){3, 30, 0, 1, true, "4=f"}); /* another run */
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(states(), "p|30|10|0/4=f\n");
    assert_string_equal(told, "p@10 p@20 p@30 ");
    store_free(s);
}

static void two_under_way_at_once_are_written_in_their_order(void **state)
{
    (void)state;
    struct store *s = open_store();
    put_part(s, "p", (struct part){1, 10, 0, 2, true, "0=a 1=b"});
    put_part(s, "p", (struct part){2, 20, 0, 2, false, "0=c"});
    put_part(s, "p", (struct part){3, 30, 0, 2, false, "1="});
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(told, "");
    put_part(s, "p", (struct part){1, 10, 1, 2, true, "0=x"});
    put_part(s, "p", (struct part){2, 20, 1, 2, false, "0=y"});
    assert_int_equal(store_flush(s), 0); /* both in one transaction */
    assert_string_equal(told, "p@10 p@20 ");
    assert_string_equal(states(), "p|20|21|0/0=c,0/1=b,1/0=y\n");
    put_part(s, "p", (struct part){3, 30, 1, 2, false, ""});
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(states(), "p|30|21|0/0=c,1/0=y\n");
    store_free(s);
}

static void pipelines_do_not_touch_each_other(void **state)
{
    (void)state;
    struct store *s = open_store();
    put_part(s, "p", (struct part){1, 10, 0, 1, true, "0=a"});
    put_part(s, "q", (struct part){1, 11, 0, 2, true, "0=b"});
    put_part(s, "p", (struct part){2, 20, 0, 1, true, "3=c"});
    put_part(s, "q", (struct part){1, 11, 1, 2, true, "0=d"});
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(states(), "p|20|10|0/3=c\nq|11|21|0/0=b,1/0=d\n");
    put_part(s, "q", (struct part){2, 21, 0, 2, true, ""});
    put_part(s, "q", (struct part){2, 21, 1, 2, true, ""});
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(states(), "p|20|10|0/3=c\nq|21|21|\n");
    assert_int_equal(put_part(s, "r", (struct part){1, 1, 0, 1, true, ""}), -EINVAL);
    assert_int_equal(put_part(s, "p", (struct part){3, 1, 2, 2, true, ""}), -EINVAL);
    store_free(s);
}

static int forget_parts(struct store *s, void *ctx)
{
    store_restart_pipeline(s, ctx);
    return 0;
}

/* A part of a pipeline that has failed never comes; one that takes its place begins with number 0. */
static void what_is_left_of_a_failed_pipeline_holds_nobody_up(void **state)
{
    (void)state;
    struct store *s = open_store();
    put_part(s, "p", (struct part){7, 10, 0, 2, true, "0=a"});
    assert_int_equal(store_call(s, forget_parts, "p"), 0);
    put_part(s, "p", (struct part){0, 10, 0, 1, true, "1=b"});
    put_part(s, "p", (struct part){8, 20, 0, 1, false, "2=c"});
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(told, "p@10 p@20 ");
    assert_string_equal(states(), "p|20|10|0/1=b,0/2=c\n");
    store_free(s);
}

/* ---- Transactions that fail ------------------------------------------------------------------- */

static void *flush(void *store)
{
    return store_flush(store) ? store : NULL;
}

/* Rows, checkpoint and keys are there together, or nothing is. */
static void a_transaction_that_fails_is_made_again_as_a_whole(void **state)
{
    (void)state;
    struct store *s = open_store();
    sqlite3 *foreign;
    pthread_t thread;
    put_part(s, "p", (struct part){1, 10, 0, 1, true, "0=a 1=b"});
    assert_int_equal(store_flush(s), 0);
    assert_int_equal(sqlite3_open(shell_path("weir.db"), &foreign), SQLITE_OK);
    assert_int_equal(sqlite3_exec(foreign, "BEGIN IMMEDIATE", NULL, NULL, NULL),
                     SQLITE_OK);
    put_row(s, "p", 20, 20);
    put_part(s, "p", (struct part){2, 20, 0, 1, false, "0=c"});
    struct store_stream *keys = calloc(1, sizeof(*keys));
    *keys = (struct store_stream){.stream = "s", .position = 20, .max_keys = 5};
    assert_int_equal(store_put_stream(s, keys), 0);
    assert_int_equal(pthread_create(&thread, NULL, flush, s), 0);
    /* What comes while the writer tries again and again is written behind it. */
    put_part(s, "p", (struct part){3, 30, 0, 1, false, "1="});
    put_row(s, "p", 30, 30);
    for (int i = 0; i < 50; i++) {
        assert_string_equal(states(), "p|10|10|0/0=a,0/1=b\n");
        assert_string_equal(shell("weir.db", "SELECT count(*) FROM p"), "0\n");
    }
    assert_int_equal(sqlite3_exec(foreign, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(foreign);
    void *failed;
    pthread_join(thread, &failed);
    assert_null(failed);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(states(), "p|30|10|0/0=c\n");
    assert_string_equal(shell("weir.db", "SELECT window_start FROM p"), "20\n30\n");
    assert_string_equal(shell("weir.db", "SELECT * FROM weir_streams"), "s|20\n");
    assert_string_equal(told, "p@10 s@20 p@20 p@30 ");
    store_free(s);
}

/* ---- Reading back ----------------------------------------------------------------------------- */

static int note_block(void *ctx, const char *data, size_t size)
{
    char *text = ctx;
    size_t used = strlen(text);
    snprintf(text + used, 256 - used, "%.*s,", (int)size, data);
    return used > 100 ? -EBADMSG : 0;
}

static void what_was_stored_is_restored(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct restore *r;
    struct restore_checkpoint c;
    struct error error = {""};
    char text[256] = "";
    put_part(s, "p", (struct part){1, 10, 0, 2, true, "0=a 9=b"});
    put_part(s, "p", (struct part){1, 10, 1, 2, true, "0=c"});
    put_part(s, "q", (struct part){1, 17, 0, 1, true, "0=other"});
    assert_int_equal(store_flush(s), 0);
    assert_int_equal(restore_open(shell_path("weir.db"), &r, &error), 0);
    assert_int_equal(restore_checkpoint(r, "p", "s", &c, &error), 0);
    assert_int_equal(c.position, 10);
    assert_int_equal(c.groups, 21);
    assert_string_equal(c.definition, "definition");
    assert_int_equal(c.marks_size, strlen("marks of 1"));
    assert_memory_equal(c.marks, "marks of 1", c.marks_size);
    restore_checkpoint_free(&c);
    assert_int_equal(restore_states(r, "p", note_block, text, &error), 0);
    assert_string_equal(text, "a,b,c,");
    shell("weir.db", "UPDATE weir_states SET data = x''");
    assert_int_equal(restore_states(r, "p", note_block, text, &error), -EBADMSG);
    assert_string_equal(error.text, "the stored groups are damaged");
    /* Positions are those of the stream that it read then. */
    assert_int_equal(restore_checkpoint(r, "q", "t", &c, &error), -ENOENT);
    assert_int_equal(restore_checkpoint(r, "r", "s", &c, &error), -ENOENT);
    restore_close(r);
    store_free(s);
}

/* ---- Keys of requests ------------------------------------------------------------------------- */

static void add_key(struct store_stream *s, const char *name, int64_t taken_us)
{
    const struct request_id key = {.key = name,
                                   .size = strlen(name),
                                   .digest = UINT64_MAX,
                                   .answer = {.accepted = 3,
                                              .rejected = 1,
                                              .position = 7,
                                              .errors = (char[]){"[{}]"},
                                              .errors_size = 4}};
    struct store_key *k = store_key_new(&key, taken_us);
    assert_non_null(k);
    k->next = s->keys;
    s->keys = k;
}

static struct store_stream *keys_of(const char *stream, uint64_t position,
                                    int64_t forget_us, uint64_t max_keys)
{
    struct store_stream *s = calloc(1, sizeof(*s));
    *s = (struct store_stream){.stream = stream,
                               .position = position,
                               .forget_us = forget_us,
                               .max_keys = max_keys};
    return s;
}

static const char *keys_there(void)
{
    return shell("weir.db", "SELECT stream, group_concat(key) FROM (SELECT * FROM"
                            " weir_requests ORDER BY taken) GROUP BY 1 ORDER BY 1");
}

static int note_key(void *ctx, const struct request_id *key, int64_t taken_us)
{
    char *text = ctx;
    size_t used = strlen(text);
    assert_true(key->digest == UINT64_MAX);
    assert_int_equal(key->answer.accepted, 3);
    assert_int_equal(key->answer.rejected, 1);
    assert_int_equal(key->answer.position, 7);
    assert_int_equal(key->answer.errors_size, 4);
    assert_memory_equal(key->answer.errors, "[{}]", 4);
    snprintf(text + used, 256 - used, "%.*s@%lld ", (int)key->size, key->key,
             (long long)taken_us);
    return 0;
}

static void keys_are_bounded_by_age_and_number(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct store_stream *k = keys_of("s", 5, 0, 3);
    for (int i = 1; i <= 3; i++)
        add_key(k, (char[]){'k', (char)('0' + i), 0}, i * 10);
    assert_int_equal(store_put_stream(s, k), 0);
    k = keys_of("other", 9, 0, 3);
    add_key(k, "k1", 1);
    assert_int_equal(store_put_stream(s, k), 0);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(keys_there(), "other|k1\ns|k1,k2,k3\n");
    assert_string_equal(told, "s@5 other@9 ");

    k = keys_of("s", 6, 0, 3); /* too many: the oldest goes */
    add_key(k, "k4", 40);
    assert_int_equal(store_put_stream(s, k), 0);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(keys_there(), "other|k1\ns|k2,k3,k4\n");

    k = keys_of("s", 7, 30, 3); /* those before 30 are too old */
    add_key(k, "k2", 50);       /* and this one is used anew */
    assert_int_equal(store_put_stream(s, k), 0);
    assert_int_equal(store_put_stream(s, keys_of("s", 8, 0, 3)), 0); /* none */
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(keys_there(), "other|k1\ns|k3,k4,k2\n");
    assert_string_equal(shell("weir.db", "SELECT * FROM weir_streams"),
                        "other|9\ns|8\n");
    store_free(s);

    struct restore *r;
    struct error error = {""};
    char text[256] = "";
    uint64_t position;
    assert_int_equal(restore_open(shell_path("weir.db"), &r, &error), 0);
    assert_int_equal(restore_keys(r, "s", 31, note_key, text, &error), 0);
    assert_string_equal(text, "k4@40 k2@50 ");
    assert_int_equal(restore_stream(r, "s", &position, &error), 0);
    assert_int_equal(position, 8);
    assert_int_equal(restore_stream(r, "none", &position, &error), -ENOENT);
    restore_close(r);
}

/* ---- Both -------------------------------------------------------------------------------------- */

/* What the journal of the stream is needed for, with pipelines p and q that read such streams. */
static struct journals_needs needs_of(const char *stream, const char *q_reads)
{
    struct config *config;
    struct restore *r;
    struct journals_needs needs;
    struct error error = {""};
    char text[512];
    int n = snprintf(text, sizeof(text),
                     "streams:\n"
                     "  s: {time: arrival, fields: {x: int}}\n"
                     "  t: {time: arrival, fields: {x: int}}\n"
                     "pipelines:\n"
                     "  p: {from: s, window: {tumbling: 1s}, analyzers: [count]}\n"
                     "  q: {from: %s, window: {tumbling: 1s}, analyzers: [count]}\n",
                     q_reads);
    if (config_parse("test.yaml", text, (size_t)n, &config, &error) ||
        restore_open(shell_path("weir.db"), &r, &error) ||
        restore_needs(r, config, stream, &needs, &error))
        fail_msg("%s", error.text);
    restore_close(r);
    config_free(config);
    return needs;
}

static void pipelines_need_the_stream_that_they_read_then_and_read_now(void **state)
{
    (void)state;
    struct store *s = open_store();
    put_part(s, "p", (struct part){1, 10, 0, 1, true, ""});
    put_part(s, "q", (struct part){1, 17, 0, 1, true, ""});
    assert_int_equal(store_put_stream(s, keys_of("s", 12, 0, 3)), 0);
    assert_int_equal(store_put_stream(s, keys_of("t", 5, 0, 3)), 0);
    assert_int_equal(store_flush(s), 0);
    struct journals_needs n = needs_of("s", "s");
    assert_true(n.known && n.kept == 12 && n.least == 10 && n.most == 17);
    n = needs_of("s", "t"); /* q reads t now, and has seen nothing of it */
    assert_true(n.known && n.kept == 12 && n.least == 10 && n.most == 12);
    n = needs_of("t", "t");
    assert_true(n.known && n.kept == 5 && n.least == 5 && n.most == 5);
    assert_false(needs_of("none", "t").known);
    store_free(s);
}

/* ---- Chains: q reads p ------------------------------------------------------------------------ */

static void say(struct store *s, const char *pipeline, uint64_t position)
{
    const struct store_report report = {pipeline, 0, 1, position, 0, NULL};
    assert_int_equal(store_put(s, &report), 0);
}

static const char *row_counts(void)
{
    return shell("weir.db",
                 "SELECT (SELECT count(*) FROM p), (SELECT count(*) FROM q)");
}

static void rows_wait_for_what_is_made_of_them(void **state)
{
    (void)state;
    struct store *s = open_with("p");
    put_row(s, "p", 1, 10);
    put_row(s, "p", 2, 12);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(row_counts(), "0|0\n");
    put_row(s, "q", 1, 10); /* has read as far as 10 */
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(row_counts(), "1|1\n");
    say(s, "q", 11);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(row_counts(), "1|1\n");
    say(s, "q", 12); /* and gives nothing for the second */
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(row_counts(), "2|1\n");
    put_row(s, "q", 3, 20); /* it may be ahead, too */
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(row_counts(), "2|1\n");
    put_row(s, "p", 3, 20);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(row_counts(), "3|2\n");
    put_row(s, "p", 4, 30);
    store_free(s); /* at the end nothing more comes */
    assert_string_equal(row_counts(), "4|2\n");
}

static const char *committed(void)
{
    return shell("weir.db", "SELECT pipeline, position FROM weir_pipelines ORDER BY 1");
}

/* What is said of a position with rows that wait is not in the file before they are. */
static void positions_wait_with_the_rows_before_them(void **state)
{
    (void)state;
    struct store *s = open_with("p");
    say(s, "p", 9);
    say(s, "q", 9);
    assert_int_equal(store_flush(s), 0);
    put_row(s, "p", 1, 10);
    say(s, "p", 11);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(committed(), "p|9\nq|9\n");
    say(s, "q", 10);
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(committed(), "p|11\nq|10\n");
    store_free(s);
}

static void a_checkpoint_of_a_chain_is_one_of_all(void **state)
{
    (void)state;
    struct store *s = open_with("p");
    put_part(s, "p", (struct part){0, 10, 0, 1, true, "0=a"}); /* before they run */
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(told, "p@10 ");
    put_row(s, "p", 1, 20);
    put_part(s, "p", (struct part){1, 20, 0, 1, true, "0=b"});
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(states(), "p|10|10|0/0=a\n");
    put_part(s, "q", (struct part){1, 20, 0, 1, true, "0=c"});
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(states(), "p|20|10|0/0=b\nq|20|10|0/0=c\n");
    assert_string_equal(row_counts(), "1|0\n"); /* with what was before it */
    assert_string_equal(strstr(told, "p@20") && strstr(told, "q@20") ? "both" : told,
                        "both");
    store_free(s);
}

static void who_is_out_is_not_waited_for(void **state)
{
    (void)state;
    struct store *s = open_with("p");
    put_row(s, "p", 1, 10);
    put_part(s, "p", (struct part){1, 10, 0, 1, true, "0=a"});
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(states(), "");
    store_out(s, "q");
    assert_int_equal(store_flush(s), 0);
    assert_string_equal(states(), "p|10|10|0/0=a\n");
    assert_string_equal(row_counts(), "1|0\n");
    store_free(s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, shell_setup, shell_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_checkpoint_is_there_once_all_its_parts_are),
        TEST(only_blocks_that_are_said_change),
        TEST(two_under_way_at_once_are_written_in_their_order),
        TEST(pipelines_do_not_touch_each_other),
        TEST(what_is_left_of_a_failed_pipeline_holds_nobody_up),
        TEST(a_transaction_that_fails_is_made_again_as_a_whole),
        TEST(what_was_stored_is_restored),
        TEST(pipelines_need_the_stream_that_they_read_then_and_read_now),
        TEST(keys_are_bounded_by_age_and_number),
        TEST(rows_wait_for_what_is_made_of_them),
        TEST(positions_wait_with_the_rows_before_them),
        TEST(a_checkpoint_of_a_chain_is_one_of_all),
        TEST(who_is_out_is_not_waited_for),
    };
    return cmocka_run_group_tests_name("checkpoints", tests, NULL, NULL);
}
