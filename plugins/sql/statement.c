/* SPDX-License-Identifier: Apache-2.0 */
#include "statement.h"

#include "expr/pure_time.h"
#include "expr/split.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STEPS       4000 /* of SQLite's machine between two looks at the clock */
#define STRING_MAX  (16 << 20)
#define SQL_MAX     65536
#define PATTERN_MAX 1000
#define TRIAL_NS    1000000000
#define TRIAL_ROWS  3

/* What gives the same for the same rows. No name is a part of another with spaces around it. */
static const char functions[] =
    " abs char coalesce concat concat_ws format glob hex if ifnull iif instr length "
    "like"
    " likelihood likely lower ltrim match max min nullif octet_length printf quote "
    "replace"
    " round rtrim sign soundex split_part substr substring trim typeof unhex unicode "
    "unlikely "
    "upper"
    " zeroblob -> ->>"
    " avg count group_concat string_agg sum total median percentile percentile_cont"
    " percentile_disc row_number rank dense_rank percent_rank cume_dist ntile lag lead"
    " first_value last_value nth_value"
    " date time datetime julianday unixepoch strftime timediff"
    " acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor "
    "ln log"
    " log10 log2 mod pi pow power radians sin sinh sqrt tan tanh trunc"
    " json json_array json_array_length json_error_position json_extract json_insert"
    " json_object json_patch json_pretty json_quote json_remove json_replace json_set"
    " json_type json_valid json_group_array json_group_object json_each json_tree ";

static bool is_known(const char *name)
{
    char word[64];
    int size = snprintf(word, sizeof(word), " %s ", name);
    for (char *c = word; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return size < (int)sizeof(word) && strstr(functions, word);
}

static int column_of(const struct events *e, const char *name)
{
    for (uint32_t i = 0; i < e->n; i++)
        if (strcasecmp(e->name[i], name) == 0)
            return (int)i;
    return -1;
}

static int authorize(void *statement, int action, const char *a, const char *b,
                     const char *database, const char *trigger)
{
    struct statement *s = statement;
    int column;
    (void)database;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE: /* limits of time and memory end it */
        return SQLITE_OK;
    case SQLITE_FUNCTION:
        return b && is_known(b) ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_READ:
        if (a && (!strcasecmp(a, "json_each") || !strcasecmp(a, "json_tree")))
            return SQLITE_OK;
        if (!a || strcasecmp(a, "events") != 0)
            return a && !strncasecmp(a, "sqlite_", 7) ? SQLITE_DENY : SQLITE_OK;
        /* Not all that are read are named: best_index sees those of USING and NATURAL. */
        column = b && !trigger ? column_of(&s->events, b) : -1; /* a view names all */
        if (column >= 0)
            s->events.reads[column] = true;
        return SQLITE_OK;
    default:
        return SQLITE_DENY;
    }
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int look_at_clock(void *statement)
{
    struct statement *s = statement;
    s->over = cpu_ns() >= s->end_ns;
    return s->over;
}

static struct weir_ctx *ctx_of(const struct statement *s)
{
    return s->events.ctx;
}

/* SQLite has failed. */
static int fail(const struct statement *s)
{
    if (s->over)
        return weir_fail(ctx_of(s),
                         "the statement took more than %g s of CPU time (timeout)",
                         (double)s->most_ns / 1e9);
    if (s->temp.over)
        return weir_fail(ctx_of(s),
                         "the statement needs more than %zu MiB in between (memory)",
                         s->temp.most >> 20);
    return weir_fail(ctx_of(s), "%s", sqlite3_errmsg(s->db));
}

/* ---- Opening ----------------------------------------------------------------------------------- */

static void limit(sqlite3 *db)
{
    static const int limits[][2] = {
        {SQLITE_LIMIT_LENGTH, STRING_MAX},
        {SQLITE_LIMIT_SQL_LENGTH, SQL_MAX},
        {SQLITE_LIMIT_VDBE_OP, 1000000},
        {SQLITE_LIMIT_ATTACHED, 0},
        {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_MAX},
        {SQLITE_LIMIT_TRIGGER_DEPTH, 0},
        {SQLITE_LIMIT_WORKER_THREADS, 0},
    };
    static const int settings[][2] = {
        {SQLITE_DBCONFIG_DQS_DML, 0}, /* "x" is a column, always */
        {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
    };
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        sqlite3_limit(db, limits[i][0], limits[i][1]);
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        sqlite3_db_config(db, settings[i][0], settings[i][1], NULL);
}

/* Where rows are of several streams, the server calls the column with the number of each row's ".streams NAME NAME...",
 * and columns that not all of them have "NAME.COLUMN". */
#define STREAMS ".streams "

static uint32_t find_streams(const struct events *e)
{
    uint32_t i = 0;
    while (i < e->n && strncmp(e->name[i], STREAMS, sizeof(STREAMS) - 1) != 0)
        i++;
    return i;
}

/* A view of one stream, with what all have and what it has alone. */
static int make_view(struct statement *s, const char *stream, int size, int number)
{
    const struct events *e = &s->events;
    sqlite3_str *sql = sqlite3_str_new(s->db);
    const char *before = "";
    sqlite3_str_appendf(sql, "CREATE TEMP VIEW \"%.*w\" AS SELECT ", size, stream);
    for (uint32_t i = 0; i < e->n; i++) {
        const char *dot = strchr(e->name[i], '.');
        bool its = dot && dot - e->name[i] == size &&
                   !strncmp(e->name[i], stream, (size_t)size);
        if (dot && !its)
            continue;
        sqlite3_str_appendf(sql, "%s\"%w\" AS \"%w\"", before, e->name[i],
                            its ? dot + 1 : e->name[i]);
        before = ", ";
    }
    sqlite3_str_appendf(sql, " FROM events WHERE \"%w\" = %d", e->name[e->stream],
                        number);
    char *text = sqlite3_str_finish(sql);
    int r = text ? sqlite3_exec(s->db, text, NULL, NULL, NULL) : SQLITE_NOMEM;
    sqlite3_free(text);
    return r == SQLITE_OK ? 0 : fail(s);
}

/* A table for each stream. */
static int make_views(struct statement *s)
{
    struct events *e = &s->events;
    e->stream = find_streams(e);
    const char *name = e->stream < e->n ? e->name[e->stream] + sizeof(STREAMS) - 1 : "";
    for (int number = 0, err; *name; number++) {
        int size = (int)strcspn(name, " ");
        if (size == 6 && !strncmp(name, "events", 6))
            return weir_fail(ctx_of(s),
                             "a stream that is called 'events' cannot be one "
                             "of several: it is the name of all their rows");
        if ((err = make_view(s, name, size, number)) < 0)
            return err;
        name += size;
        name += *name == ' ';
    }
    return 0;
}

static int connect_db(struct statement *s)
{
    struct events *e = &s->events;
    const struct weir_host *host = ctx_of(s)->host;
    e->reads = host->alloc(ctx_of(s), e->n + 1);
    e->by = host->alloc(ctx_of(s), (e->n + 1) * sizeof(*e->by));
    e->fetched = host->alloc(ctx_of(s), (e->n + 1) * sizeof(*e->fetched));
    if (!e->reads || !e->by || !e->fetched)
        return -1;
    e->seed = (uint64_t)cpu_ns() ^ (uint64_t)(uintptr_t)s;
    if (temp_install(&s->temp, ctx_of(s), s->temp.most) != SQLITE_OK ||
        sqlite3_open_v2(":memory:", &s->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                            SQLITE_OPEN_NOMUTEX,
                        s->temp.name) != SQLITE_OK ||
        events_install(e, s->db) != SQLITE_OK ||
        pure_time_install(s->db) != SQLITE_OK || split_install(s->db) != SQLITE_OK ||
        sqlite3_exec(s->db, "SELECT 1 FROM events, json_each(''), json_tree('')", NULL,
                     NULL, NULL) != SQLITE_OK) /* tables are made when first named */
        return weir_fail(ctx_of(s), "no memory for a connection of SQLite");
    if (make_views(s) < 0)
        return -1;
    limit(s->db);
    sqlite3_progress_handler(s->db, STEPS, look_at_clock, s);
    sqlite3_set_authorizer(s->db, authorize, s);
    return 0;
}

static bool is_blank(const char *s)
{
    return s[strspn(s, " \t\r\n;")] == 0;
}

static int check_parameters(const struct statement *s)
{
    for (int i = 1; i <= sqlite3_bind_parameter_count(s->stmt); i++) {
        const char *name = sqlite3_bind_parameter_name(s->stmt, i);
        if (!name || (strcmp(name, ":window_start") && strcmp(name, ":window_end")))
            return weir_fail(ctx_of(s),
                             "the parameters are :window_start and :window_end, there "
                             "is no '%s'",
                             name ? name : "?");
    }
    return 0;
}

static int prepare(struct statement *s, const char *sql)
{
    const char *tail = "";
    if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt,
                           &tail) != SQLITE_OK) {
        const char *text = sqlite3_errmsg(s->db);
        if (strcmp(text, "not authorized") == 0)
            text = "only SELECT is allowed";
        return weir_fail(ctx_of(s), "%s", text);
    }
    if (!s->stmt || !sqlite3_stmt_readonly(s->stmt) ||
        sqlite3_stmt_isexplain(s->stmt) || !is_blank(tail))
        return weir_fail(ctx_of(s), "one SELECT is expected");
    return check_parameters(s);
}

/* ---- Result columns ---------------------------------------------------------------------------- */

static int take_names(struct statement *s)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    s->n = sqlite3_column_count(s->stmt);
    if (s->n > STATEMENT_COLUMNS)
        return weir_fail(ctx_of(s), "it gives %d columns, the limit is %d", s->n,
                         STATEMENT_COLUMNS);
    for (int i = 0; i < s->n; i++) {
        const char *name = sqlite3_column_name(s->stmt, i);
        char *to = s->name[i];
        if (!name)
            return weir_fail(ctx_of(s), "no memory");
        size_t size = strlen(name);
        for (size_t k = 0; size < STATEMENT_NAME && k <= size; k++)
            to[k] = (char)tolower((unsigned char)name[k]);
        if (size == 0 || size >= STATEMENT_NAME || to[strspn(to, letters)] ||
            isdigit((unsigned char)to[0]))
            return weir_fail(ctx_of(s),
                             "its column %d is called '%.60s': AS gives it a name of "
                             "letters, digits and '_'",
                             i + 1, name);
    }
    return 0;
}

/* As a table made of it would have them: INT, REAL and TEXT of columns and casts, nothing of other expressions. */
static int types_of_casts(struct statement *s, const char *sql)
{
    sqlite3_stmt *make = NULL, *look = NULL;
    char *text = sqlite3_mprintf("CREATE TEMP TABLE trial AS %s", sql);
    sqlite3_set_authorizer(s->db, NULL, NULL);
    int r = text ? sqlite3_prepare_v2(s->db, text, -1, &make, NULL) : SQLITE_NOMEM;
    if (r == SQLITE_OK)
        r = sqlite3_step(make) == SQLITE_DONE ? SQLITE_OK : SQLITE_ERROR;
    sqlite3_finalize(make);
    if (r == SQLITE_OK)
        r = sqlite3_prepare_v2(s->db, "SELECT * FROM trial", -1, &look, NULL);
    for (int i = 0; r == SQLITE_OK && i < s->n; i++) {
        const char *type = sqlite3_column_decltype(look, i);
        if (type && !s->type[i])
            s->type[i] = strcmp(type, "INT") == 0    ? WEIR_INT
                         : strcmp(type, "REAL") == 0 ? WEIR_FLOAT
                         : strcmp(type, "TEXT") == 0 ? WEIR_STRING
                                                     : 0;
    }
    sqlite3_finalize(look);
    sqlite3_exec(s->db, "DROP TABLE IF EXISTS temp.trial", NULL, NULL, NULL);
    sqlite3_set_authorizer(s->db, authorize, s);
    sqlite3_free(text);
    return r == SQLITE_OK ? 0 : fail(s);
}

/* Some rows that are like events, for a trial. */
struct trial {
    struct weir_column column[5];
    const struct weir_column **in;
    int64_t number[TRIAL_ROWS];
    double real[TRIAL_ROWS];
    uint8_t bits;
    int32_t offsets[TRIAL_ROWS + 1];
    uint32_t row[TRIAL_ROWS];
};

static void fill_trial(struct trial *t, const struct events *e)
{
    *t = (struct trial){.in = t->in,
                        .number = {-2, 7, 1000000},
                        .real = {-1.5, 7.25, 1e6},
                        .bits = 5,
                        .offsets = {0, 1, 2, 3},
                        .row = {0, 1, 2}};
    const struct weir_column column[] = {
        {.type = WEIR_INT, .values = t->number},
        {.type = WEIR_FLOAT, .values = t->real},
        {.type = WEIR_BOOL, .values = &t->bits},
        {.type = WEIR_STRING, .offsets = t->offsets, .bytes = "abc"},
        {.type = WEIR_TIME, .values = t->number},
    };
    memcpy(t->column, column, sizeof(column));
    for (uint32_t i = 0; i < e->n; i++)
        t->in[e->first + i] = &t->column[e->ctx->types[e->first + i] - WEIR_INT];
}

/* Types that values of a column have had. */
static uint32_t type_of_values(unsigned seen)
{
    const unsigned is_int = 1u << SQLITE_INTEGER, is_real = 1u << SQLITE_FLOAT;
    if (seen == is_int)
        return WEIR_INT;
    if (seen == is_real || seen == (is_int | is_real))
        return WEIR_FLOAT;
    return seen == 1u << SQLITE_TEXT ? WEIR_STRING : 0;
}

static int types_of_trial(struct statement *s, struct trial *t)
{
    unsigned seen[STATEMENT_COLUMNS] = {0};
    const struct weir_rows rows = {.size = sizeof(rows),
                                   .n = TRIAL_ROWS,
                                   .row = t->row,
                                   .time = t->number,
                                   .in = t->in};
    int64_t most_ns = s->most_ns;
    int r;
    s->events.trial = true;
    s->most_ns = most_ns < TRIAL_NS ? most_ns : TRIAL_NS;
    if (statement_begin(s, 0, 10, &rows) < 0)
        return -1;
    while ((r = sqlite3_step(s->stmt)) == SQLITE_ROW)
        for (int i = 0; i < s->n; i++)
            seen[i] |= 1u << sqlite3_column_type(s->stmt, i);
    bool now = r != SQLITE_DONE && strstr(sqlite3_errmsg(s->db), PURE_TIME_REFUSED);
    int err = now || s->over || s->temp.over ? fail(s) : 0;
    statement_end(s);
    s->events.trial = false;
    s->most_ns = most_ns;
    for (int i = 0; i < s->n; i++)
        if (!s->type[i])
            s->type[i] = type_of_values(seen[i] & ~(1u << SQLITE_NULL));
    return err;
}

static int take_types(struct statement *s, const char *sql)
{
    const struct weir_host *host = ctx_of(s)->host;
    struct trial t = {
        .in = host->alloc(ctx_of(s), (ctx_of(s)->n_inputs + 1) * sizeof(*t.in))};
    if (!t.in)
        return -1;
    for (int i = 0; i < s->n; i++)
        s->type[i] = events_type(sqlite3_column_decltype(s->stmt, i));
    fill_trial(&t, &s->events);
    int err = types_of_trial(s, &t);
    if (!err)
        err = types_of_casts(s, sql);
    host->free(ctx_of(s), t.in);
    for (int i = 0; !err && i < s->n; i++)
        if (!s->type[i])
            return weir_fail(
                ctx_of(s),
                "the type of its column '%s' is not known before there are "
                "rows: CAST(... AS INTEGER), AS REAL or AS TEXT says it",
                s->name[i]);
    return err;
}

int statement_open(struct statement *s, struct weir_ctx *ctx, const char *sql)
{
    s->events.ctx = ctx;
    int err = connect_db(s);
    if (!err)
        err = prepare(s, sql);
    if (!err)
        err = take_names(s);
    return err ? err : take_types(s, sql);
}

void statement_close(struct statement *s)
{
    const struct weir_host *host = ctx_of(s)->host;
    sqlite3_finalize(s->stmt);
    sqlite3_close(s->db);
    temp_remove(&s->temp);
    if (s->events.by)
        events_set(&s->events, NULL);
    host->free(ctx_of(s), s->events.by);
    host->free(ctx_of(s), s->events.fetched);
    host->free(ctx_of(s), s->events.reads);
}

/* ---- Running ----------------------------------------------------------------------------------- */

int statement_begin(struct statement *s, int64_t start_us, int64_t end_us,
                    const struct weir_rows *rows)
{
    const struct {
        const char *name;
        int64_t us;
    } parameter[] = {{":window_start", start_us}, {":window_end", end_us}};
    events_set(&s->events, rows);
    s->end_ns = cpu_ns() + s->most_ns;
    s->over = false;
    s->temp.over = 0;
    for (size_t i = 0; i < 2; i++) {
        int at = sqlite3_bind_parameter_index(s->stmt, parameter[i].name);
        if (at && sqlite3_bind_int64(s->stmt, at, parameter[i].us) != SQLITE_OK)
            return fail(s);
    }
    return 0;
}

int statement_step(struct statement *s)
{
    int r = sqlite3_step(s->stmt);
    if (r == SQLITE_ROW)
        return 1;
    return r == SQLITE_DONE ? 0 : fail(s);
}

void statement_end(struct statement *s)
{
    sqlite3_reset(s->stmt);
    events_set(&s->events, NULL);
}
