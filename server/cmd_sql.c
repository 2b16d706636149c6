/* SPDX-License-Identifier: Apache-2.0
 *
 * weir sql: one read-only statement on the database, also while a server writes to it.
 */
#include "cmd.h"
#include "config/config.h"
#include "query/rowout.h"
#include "store/db.h"
#include "store/reader.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE ((size_t)64 << 10)

static const char help[] =
    "Usage: weir sql [-c FILE] [--format FORMAT] STATEMENT\n"
    "       weir sql -d FILE [--format FORMAT] STATEMENT\n\n"
    "Runs one SELECT on the database of a configuration, or on a database file, and "
    "prints its rows.\n"
    "A server may be running. STATEMENT may be - for standard input.\n\n"
    "  -c, --config FILE    the configuration, weir.yaml(5)\n"
    "  -d, --database FILE  the database itself\n"
    "  -f, --format FORMAT  table (default), csv, json, ndjson, arrow\n"
    "  -h, --help           this text\n\n"
    "Exit status: 0 ok, 1 the statement failed, 64 usage, 69 no database, 74 reading "
    "or writing\n"
    "failed, 78 bad configuration.\n";

/* Standard input, up to one byte more than a statement may have; NULL: it cannot be read. */
static char *read_statement(void)
{
    char *text = malloc(READER_SQL_MAX + 2);
    size_t size = text ? fread(text, 1, READER_SQL_MAX + 1, stdin) : 0;
    if (!text || ferror(stdin)) {
        fprintf(stderr, "weir sql: the statement cannot be read: %s\n",
                strerror(errno));
        free(text);
        return NULL;
    }
    text[size] = 0;
    if (strlen(text) < size) {
        fprintf(stderr, "weir sql: the statement has a zero byte\n");
        free(text);
        return NULL;
    }
    return text;
}

static int write_out(struct buffer *b)
{
    bool ok = !b->error && fwrite(b->data, 1, b->size, stdout) == b->size;
    buffer_clear(b);
    return ok ? 0 : -EIO;
}

static int print_rows(struct reader *r, sqlite3_stmt *s, struct rowout *o,
                      struct error *error)
{
    struct buffer b = {0};
    rowout_begin(o, &b);
    int got, err = 0;
    while (!err && (got = reader_step(r, s, error)) != 0) {
        if (got < 0)
            err = got;
        else
            rowout_row(o, &b, s);
        if (!err && b.error)
            err = error_set(error, b.error, "%s",
                            b.error == -EDOM ? o->why.text : "out of memory");
        if (!err && rowout_size(o, &b) >= PIECE) {
            rowout_flush(o, &b);
            err = write_out(&b);
        }
    }
    if (!err || o->format == ROWOUT_TABLE)
        rowout_end(o, &b, NULL);
    else if (o->rows)
        rowout_flush(o, &b);
    int written = write_out(&b); /* what there is, also before an error */
    if (!written && fflush(stdout))
        written = -EIO;
    buffer_free(&b);
    return err ? err : written;
}

static int print_columns(struct reader *r, sqlite3_stmt *s, enum rowout_format format,
                         struct error *error)
{
    size_t n = (size_t)sqlite3_column_count(s);
    struct rowout_column *column = calloc(n + 1, sizeof(*column));
    if (!column)
        return error_set(error, -ENOMEM, "out of memory");
    for (size_t c = 0; c < n; c++)
        column[c] = (struct rowout_column){sqlite3_column_name(s, (int)c),
                                           rowout_declared(s, (int)c)};
    struct rowout o = {.format = format, .n_columns = n, .column = column};
    int err = print_rows(r, s, &o, error);
    rowout_free(&o);
    free(column);
    return err;
}

static int answer(struct reader *r, const char *sql, enum rowout_format format)
{
    DB_STATEMENT s = NULL;
    struct error error = {""};
    int offset = -1;
    int err = reader_prepare(r, sql, strlen(sql), &s, &offset, &error);
    if (!err && sqlite3_bind_parameter_count(s))
        err = error_set(&error, -EINVAL, "the statement has parameters");
    if (!err)
        err = print_columns(r, s, format, &error);
    if (!err)
        return EXIT_SUCCESS;
    if (offset >= 0)
        fprintf(stderr, "weir sql: %s (at byte %d)\n", error.text, offset + 1);
    else
        fprintf(stderr, "weir sql: %s\n", error.text[0] ? error.text : strerror(-err));
    return err == -EIO && !error.text[0] ? EXIT_IO : EXIT_FAILURE;
}

static int run(const char *database, const char *sql, enum rowout_format format)
{
    struct reader_pool *pool = NULL;
    struct reader *reader = NULL;
    struct error error = {""};
    int status = EXIT_UNAVAILABLE;
    if (reader_pool_new(database, 0, &pool))
        fprintf(stderr, "weir sql: out of memory\n");
    else if (reader_get(pool, &reader, &error))
        fprintf(stderr, "weir sql: %s\n", error.text);
    else
        status = answer(reader, sql, format);
    reader_put(reader);
    reader_pool_free(pool);
    return status;
}

/* The database of a configuration, or the one that is named. */
static int run_on(const char *config_path, const char *database, const char *sql,
                  enum rowout_format format)
{
    if (database)
        return run(database, sql, format);
    struct config *config = NULL;
    struct error error = {""};
    if (config_load(config_path, &config, &error)) {
        fprintf(stderr, "weir sql: %s\n", error.text);
        return EXIT_CONFIG;
    }
    int status = run(config->server.database, sql, format);
    config_free(config);
    return status;
}

int cmd_sql(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"database", required_argument, NULL, 'd'},
                                            {"format", required_argument, NULL, 'f'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *config = NULL, *database = NULL;
    enum rowout_format format = ROWOUT_TABLE;
    for (int o; (o = getopt_long(argc, argv, "c:d:f:h", options, NULL)) != -1;) {
        if (o == 'c')
            config = optarg;
        else if (o == 'd')
            database = optarg;
        else if (o == 'h')
            return fputs(help, stdout) < 0;
        else if (o != 'f')
            return EXIT_USAGE;
        else if (rowout_parse(optarg, &format))
            return cmd_usage("sql", "'%s' is no format", optarg);
    }
    if (!config && !database)
        config = cmd_default_config();
    if (!config == !database)
        return cmd_usage("sql", "one of --config and --database is needed");
    if (optind + 1 != argc)
        return cmd_usage("sql", "one statement is needed; quote it");
    if (strcmp(argv[optind], "-") != 0)
        return run_on(config, database, argv[optind], format);
    char *sql = read_statement();
    int status = sql ? run_on(config, database, sql, format) : EXIT_IO;
    free(sql);
    return status;
}
