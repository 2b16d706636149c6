/* SPDX-License-Identifier: Apache-2.0
 *
 * weir/shard.h - a pipeline of a weir.yaml inside another program, such as a job of Flink: libweir-shard.
 *
 *      events --router--> rows of one part | a watermark --shard--> result rows
 *                         by key, in order                   save, load: states by part
 *
 * Keys are dealt to parts, as many as the program says for good. Any shard may have any parts: rows of a part go to the shard that
 * has it, watermarks to all. So parts can be moved from shard to shard between two pieces, with what was saved of them,
 * and the rows that come out are the same.
 *
 * What cannot be dealt so (joins, chains, windows by key, ...) is refused when it is opened, with the reason.
 *
 * Calls:   one thread at a time for a router or a shard; any thread.
 * Errors:  0 is success; otherwise a negative errno, and `error` has a line of text. A shard that has failed folds nothing more.
 * Memory:  what is given out belongs to the router or shard, until its next call.
 */
#ifndef WEIR_SHARD_H
#define WEIR_SHARD_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_SHARD_PARTS_MAX 32768
#define WEIR_SHARD_API       __attribute__((visibility("default")))

struct weir_shard_error {
    char text[512];
};

struct weir_shard_options {
    const char *file;   /* what the configuration is called in texts */
    const char *config; /* its bytes: a weir.yaml */
    size_t config_size;
    const char *pipeline; /* its name there */
    uint32_t parts;       /* 1 to WEIR_SHARD_PARTS_MAX */
    const char *
        program; /* path of a weir of this version, which is started for `run: process`; NULL: such is refused */
};

/* ---- Router: from bytes to rows by part ---- */

struct weir_router;

/* What is to be handed on, in this order. */
struct weir_piece {
    int32_t part;         /* of `rows` rows; -1: */
    int64_t watermark_us; /* all shards are to hear of this */
    const void *bytes;    /* for weir_shard_fold */
    size_t size;
    uint32_t rows;
};

struct weir_router_figures {
    uint64_t events, rejected, null_keys, long_keys;
    char last_rejected
        [256]; /* "line 3, column 7: type: ..."; of the call or message at hand; "": none */
};

/* -EINVAL: the configuration is wrong, or the pipeline cannot be dealt; -ENOENT: there is none of that name; -ENOMEM. */
WEIR_SHARD_API int weir_router_open(const struct weir_shard_options *options,
                                    struct weir_router **ret,
                                    struct weir_shard_error *error);
WEIR_SHARD_API void weir_router_close(struct weir_router *r); /* takes NULL */

/* Whole lines of NDJSON, of which the last may lack its end. Those that are wrong are left out, each alone, and counted. -ENOMEM. */
WEIR_SHARD_API int weir_router_read(struct weir_router *r, const void *bytes,
                                    size_t size, const struct weir_piece **ret_pieces,
                                    size_t *ret_n, struct weir_shard_error *error);

/* Messages one behind the other, each of so many bytes, in the format that the stream's `source: {kafka: ...}` says, otherwise lines
 * of NDJSON. Each is a whole: what it leaves open ends with it; of CSV it begins with its header. */
WEIR_SHARD_API int weir_router_read_messages(struct weir_router *r, const void *bytes,
                                             const uint32_t *size, size_t n,
                                             const struct weir_piece **ret_pieces,
                                             size_t *ret_n,
                                             struct weir_shard_error *error);

/* All that it remembers: the newest event time, INT64_MIN at first. Who has several sources says before each read what that of
 * the one at hand is, and hands on the least of their watermarks. */
WEIR_SHARD_API int64_t weir_router_newest(const struct weir_router *r);
WEIR_SHARD_API void weir_router_go_on(struct weir_router *r, int64_t newest_us);

WEIR_SHARD_API void weir_router_count(const struct weir_router *r,
                                      struct weir_router_figures *ret);

/* ---- Shard: from rows by part to results ---- */

struct weir_shard;

/* A result row: an object of JSON with the columns of the table, as the database would have them; times are microseconds. */
struct weir_shard_row {
    const char *table;
    const char *json; /* with a zero behind it */
    size_t size;
};

/* A result table. */
enum weir_shard_type {                     /* of values: */
                       WEIR_SHARD_INT = 1, /* int64_t */
                       WEIR_SHARD_FLOAT,   /* double */
                       WEIR_SHARD_BOOL,    /* int64_t, 0 or 1 */
                       WEIR_SHARD_STRING,  /* UTF-8 */
                       WEIR_SHARD_TIME,    /* int64_t, microseconds since 1970 */
};
#define WEIR_SHARD_PRIMARY  1u /* flag: of the primary key, and never null */
#define WEIR_SHARD_NOT_NULL 2u /* flag: never null */

struct weir_shard_column {
    const char *name;
    uint32_t type, flags; /* enum weir_shard_type; WEIR_SHARD_PRIMARY, ... */
};
struct weir_shard_table {
    const char *name;
    const struct weir_shard_column *column; /* in the order of objects of JSON */
    size_t n_columns;
};

/* Rows of one table as columns. */
struct weir_shard_values {
    const uint8_t *null;     /* a byte a row, 1: the value is null */
    const void *values;      /* as the type says, of null 0; of strings NULL: */
    const uint32_t *offsets; /* row i is bytes[offsets[i]] to bytes[offsets[i + 1]] */
    const char *bytes;
};
struct weir_shard_columns {
    uint32_t table;                         /* its place in weir_shard_tables */
    uint32_t n_rows;                        /* 1 or more */
    const struct weir_shard_values *column; /* as many as the table has */
};

/* What the configuration says, for a host that reads and writes itself: names with a dot, as its keys are, such as "kafka.brokers",
 * "kafka.topic" and "kafka.sender" (once for each), "kafka.option.NAME", or "kafka.option_file.NAME" with the file that has it,
 * "postgresql.connect.KEYWORD" of libpq, "postgresql.schema". */
struct weir_shard_setting {
    const char *name, *value; /* a value may be a password */
};

struct weir_shard_figures {
    uint64_t events, late, filtered, where_errors, derive_errors, over_groups, rows;
    uint64_t groups, state_bytes; /* now */
    int64_t watermark_us;         /* INT64_MIN: none yet */
};

WEIR_SHARD_API int weir_shard_open(const struct weir_shard_options *options,
                                   struct weir_shard **ret,
                                   struct weir_shard_error *error);
WEIR_SHARD_API void weir_shard_close(struct weir_shard *s); /* takes NULL */

/* Folds what a router has made, which has the same options. -EBADMSG: these are no such bytes; -EINVAL: an analyzer has failed, or its process has ended, and
 * the text names it; -ENOSPC: max_groups; -ENOMEM. */
WEIR_SHARD_API int weir_shard_fold(struct weir_shard *s, const void *bytes, size_t size,
                                   struct weir_shard_error *error);
/* Event time has reached this: windows that end by then give their rows. */
WEIR_SHARD_API int weir_shard_advance(struct weir_shard *s, int64_t watermark_us,
                                      struct weir_shard_error *error);
/* Nothing more comes: all windows give their rows. */
WEIR_SHARD_API int weir_shard_end(struct weir_shard *s, struct weir_shard_error *error);

/* The rows that the last of these three calls gave, either as objects, all of them. -ENOMEM; -EFBIG: their text is too long. */
WEIR_SHARD_API int weir_shard_rows(struct weir_shard *s,
                                   const struct weir_shard_row **ret_rows,
                                   size_t *ret_n, struct weir_shard_error *error);
/* or as columns, the next of them: at most rows_max, and fewer where the table is another, or texts are long. *ret NULL: there
 * are no more. -ENOMEM. */
WEIR_SHARD_API int weir_shard_next(struct weir_shard *s, size_t rows_max,
                                   const struct weir_shard_columns **ret,
                                   struct weir_shard_error *error);

/* The tables of the pipeline, while the shard is open. */
WEIR_SHARD_API const struct weir_shard_table *
weir_shard_tables(const struct weir_shard *s, size_t *ret_n);
/* `source: {kafka: ...}` of its stream, and `postgresql:` of the server, where that has its tables; those that are there. */
WEIR_SHARD_API const struct weir_shard_setting *
weir_shard_settings(const struct weir_shard *s, size_t *ret_n);

/* States of all parts, until the next call of weir_shard_save; then those of one, for weir_shard_load. A part without groups
 * has bytes, too. -EINVAL: an analyzer cannot save; -ENOMEM. */
WEIR_SHARD_API int weir_shard_save(struct weir_shard *s,
                                   struct weir_shard_error *error);
WEIR_SHARD_API const void *weir_shard_saved(const struct weir_shard *s, uint32_t part,
                                            size_t *ret_size);
/* Any part, once, before anything is folded. -EBADMSG: damaged, or of another number of parts; -ESTALE: of another definition of the
 * pipeline; -EINVAL, -ENOSPC, -ENOMEM. */
WEIR_SHARD_API int weir_shard_load(struct weir_shard *s, const void *bytes, size_t size,
                                   struct weir_shard_error *error);

WEIR_SHARD_API void weir_shard_count(struct weir_shard *s,
                                     struct weir_shard_figures *ret);

#ifdef __cplusplus
}
#endif
#endif
