/* SPDX-License-Identifier: Apache-2.0
 *
 * weir/plugin.h - all that an analyzer plugin needs to know of weir; see weir-plugin(3).
 *
 * An analyzer is an accumulator. It says what to remember of a group of rows (one key in one
 * window), how to fold rows in, how to merge two states, and what to emit. The server does the
 * rest: windows, keys, threads, late rows, tables. The life of a state, which the server
 * allocates, zeroes, aligns to 16 bytes and frees:
 *
 *      zeroed bytes --init--> state <--update-- rows of every batch, in the order of the log
 *                               |  <--merge--- another state of the same group (then dropped)
 *                               |  <--load---- bytes that save wrote, maybe in another process
 *              window closes    +---emit-----> cells of the result table
 *                               +---drop-----> memory back to the server
 *
 * Calls:    come from threads of the server, never two at once for one ctx, and as `threads`
 *           allows. None may block, change settings of the process (signals, locale, directory)
 *           or let a C++ exception out.
 * Errors:   return weir_fail(ctx, "text"): the pipeline stops and says so. Never exit.
 * Values:   times are int64 microseconds since 1970-01-01 UTC; strings UTF-8 with a length.
 */
#ifndef WEIR_PLUGIN_H
#define WEIR_PLUGIN_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
#define WEIR_EXTERN extern "C"
extern "C" {
#else
#define WEIR_EXTERN extern
#endif
#define WEIR_ABI 1 /* raised when old plugins cannot be loaded; in the symbol's name */

/* ---- Columns: in memory as in the Arrow C Data Interface --------------------------- */

enum weir_type {
    WEIR_INT = 1,    /* int64_t values[] */
    WEIR_FLOAT = 2,  /* double values[] */
    WEIR_BOOL = 3,   /* bits, least significant first */
    WEIR_STRING = 4, /* offsets into bytes; with a dictionary also codes */
    WEIR_TIME = 5,   /* int64_t values[], microseconds */
};

struct weir_column {
    uint32_t type;           /* enum weir_type */
    uint32_t flags;          /* 0 */
    const uint8_t *validity; /* bit i is 0 where row i is null; NULL: no row is */
    const void *values;      /* of null rows 0; with a dictionary int32_t codes[] */
    const int32_t *offsets; /* string k is bytes[offsets[k]] to bytes[offsets[k + 1]] */
    const char *bytes;
    int64_t null_count;
    int64_t dictionary_size; /* > 0: row i has string codes[i]; 0: row i has string i */
};

/* The rows that one call of update folds in. The i-th is row row[i] of the columns, its
 * event time is time[row[i]], its state is at states + group[i] * stride. in[k] is the
 * column that the k-th column parameter names, NULL if that was not given. */
struct weir_rows {
    size_t n;              /* may be 0 */
    const uint32_t *row;   /* rising */
    const uint32_t *group; /* several rows may have the same */
    char *states;
    size_t stride; /* bytes */
    const int64_t *time;
    const struct weir_column *const *in;
};

static inline int weir_is_null(const struct weir_column *c, uint32_t row)
{
    return c->validity && !(c->validity[row >> 3] >> (row & 7) & 1);
}
/* Of a WEIR_INT or WEIR_TIME column. */
static inline int64_t weir_int(const struct weir_column *c, uint32_t row)
{
    return ((const int64_t *)c->values)[row];
}
/* Of a WEIR_INT or WEIR_FLOAT column. */
static inline double weir_number(const struct weir_column *c, uint32_t row)
{
    return c->type == WEIR_FLOAT ? ((const double *)c->values)[row]
                                 : (double)weir_int(c, row);
}
static inline int weir_bool(const struct weir_column *c, uint32_t row)
{
    return ((const uint8_t *)c->values)[row >> 3] >> (row & 7) & 1;
}
/* Of a WEIR_STRING column: the bytes, and their number in *size. */
static inline const char *weir_string(const struct weir_column *c, uint32_t row,
                                      size_t *size)
{
    size_t k = c->dictionary_size ? (size_t)((const int32_t *)c->values)[row] : row;
    *size = (size_t)(c->offsets[k + 1] - c->offsets[k]);
    return c->bytes + c->offsets[k];
}

/* ---- Results ----------------------------------------------------------------------- */

/* One cell of a result row; null until something is put into it. */
struct weir_cell {
    uint32_t type; /* 0: null, or enum weir_type */
    uint32_t size; /* of a string, bytes; it must live until put or emit returns */
    union {
        int64_t i; /* int, time, bool */
        double f;  /* NaN is stored as null */
        const char *s;
    } as;
};

static inline void weir_put_int(struct weir_cell *c, int64_t v)
{
    c->type = WEIR_INT;
    c->as.i = v;
}
static inline void weir_put_float(struct weir_cell *c, double v)
{
    c->type = WEIR_FLOAT;
    c->as.f = v;
}
static inline void weir_put_string(struct weir_cell *c, const char *s, size_t size)
{
    c->type = WEIR_STRING;
    c->size = (uint32_t)size;
    c->as.s = s;
}

/* ---- What the server lends --------------------------------------------------------- */
struct weir_out;

/* One for each worker and each place an analyzer has in a pipeline. */
struct weir_ctx {
    const struct weir_host *host;
    const void *config;    /* the plugin's own struct, filled from its parameters */
    void *user;            /* the plugin's; NULL before open */
    const uint32_t *types; /* enum weir_type of each input; 0: not given */
};

enum weir_level { WEIR_DEBUG, WEIR_INFO, WEIR_WARN, WEIR_ERROR };

/* alloc: counted, zeroed; NULL over the limit. free takes NULL. fail returns -1. */
struct weir_host {
    size_t size; /* of this table, bytes */
    int (*fail)(struct weir_ctx *, const char *format, ...);
    void (*log)(struct weir_ctx *, enum weir_level, const char *format, ...);
    void *(*alloc)(struct weir_ctx *, size_t size);
    void (*free)(struct weir_ctx *, void *);
    int (*put)(struct weir_ctx *, struct weir_out *, const struct weir_cell *cells);
    int (*write)(struct weir_ctx *, struct weir_out *, const void *bytes, size_t size);
};
#define weir_fail(ctx, ...) ((ctx)->host->fail((ctx), __VA_ARGS__))

/* ---- What a plugin declares -------------------------------------------------------- */

enum weir_param_type {
    WEIR_PARAM_INT = 1,    /* int64_t in the config struct */
    WEIR_PARAM_FLOAT = 2,  /* double */
    WEIR_PARAM_BOOL = 3,   /* int */
    WEIR_PARAM_STRING = 4, /* const char *, zero-terminated, NULL when not given */
    WEIR_PARAM_CHOICE = 5, /* int: index of the word in `choices` */
    WEIR_PARAM_SET = 6,    /* uint32_t: bit k for word k of `choices` */
    WEIR_PARAM_COLUMN = 7, /* const char *: the column's name; the column is an input */
};

#define WEIR_REQUIRED   1u /* flag: must be given */
#define WEIR_DICTIONARY 2u /* flag: the string column comes with a dictionary */
#define WEIR_TYPES(t)   (1u << (t)) /* a set: WEIR_TYPES(WEIR_INT) | ... */
#define WEIR_NUMBERS    (WEIR_TYPES(WEIR_INT) | WEIR_TYPES(WEIR_FLOAT))

struct weir_param {
    const char *name;      /* NULL ends the table */
    uint32_t type;         /* enum weir_param_type */
    uint32_t flags;        /* WEIR_REQUIRED, WEIR_DICTIONARY */
    size_t offset;         /* of the member in the config struct */
    const char *init;      /* default as in YAML: "10", "mean, max"; NULL: zero */
    const char *help;      /* one line, with the unit */
    const char *choices;   /* CHOICE and SET: the words, "count sum mean" */
    double min, max;       /* INT and FLOAT: the range, both included; both 0: any */
    uint32_t column_types; /* COLUMN: WEIR_TYPES(...) that it takes */
};
/* A column of the result table. `{of}` in a name becomes the value of the parameter `of`;
 * if that was not given, it goes away together with the underscore behind it. An output
 * that is not wanted has a cell all the same. */
struct weir_output {
    const char *name;     /* "{of}_mean"; NULL ends the table */
    uint32_t type;        /* enum weir_type, or WEIR_SAME_AS(k): the type of input k */
    const char *help;     /* one line, with the unit */
    const char *set_word; /* wanted if the SET parameter has this word; NULL: always */
};
#define WEIR_SAME_AS(k) (0x100u + (k))
enum weir_threads {
    WEIR_THREADS_ONE = 0, /* never two calls at once in the process (the default) */
    WEIR_THREADS_CTX = 1, /* two with different ctx may be: no globals that change */
};
#define WEIR_MANY_ROWS 1u /* flag: emit puts any number of rows; a table of its own */
/* Functions are NULL where not needed; update and emit are needed. 0 is success. */
struct weir_analyzer {
    const char *name; /* [a-z][a-z0-9_]*, that of the .so and in the configuration */
    const char *version, *help;        /* help: one line */
    uint32_t flags;                    /* WEIR_MANY_ROWS */
    uint32_t threads;                  /* enum weir_threads */
    const struct weir_param *params;   /* NULL: none */
    const struct weir_output *outputs; /* at least one */
    size_t config_size;                /* of the config struct; at most 4096 */
    size_t state_size;                 /* of a group's state; at most 1 MiB */
    int (*open)(struct weir_ctx *);    /* check parameters, prepare */
    void (*close)(struct weir_ctx *);  /* the last call; also after a failed open */
    int (*init)(struct weir_ctx *, void *state); /* when zeroed bytes are not enough */
    void (*drop)(struct weir_ctx *, void *state);
    int (*update)(struct weir_ctx *, const struct weir_rows *);
    /* Folds `from`, the rows of which all came later in the log, into `into`. The caller
     * drops `from`. For windows made of panes, which this version does not have. */
    int (*merge)(struct weir_ctx *, void *into, const void *from);
    /* Fills cells[], one for each of `outputs`; with WEIR_MANY_ROWS then calls
     * host->put(ctx, out, cells), once a row. Must not change the state. */
    int (*emit)(struct weir_ctx *, const void *state, struct weir_cell *cells,
                struct weir_out *out);
    /* For states that hold pointers: to bytes (host->write), and back into a state that
     * init has made. Others are saved as they lie in memory. */
    int (*save)(struct weir_ctx *, const void *state, struct weir_out *out);
    int (*load)(struct weir_ctx *, void *state, const void *bytes, size_t size);
};

/* What WEIR_PLUGIN exports; the sizes tell which header the plugin was built with. */
struct weir_entry {
    size_t size, param_size, output_size;
    const struct weir_analyzer *analyzer;
};
#ifdef __cplusplus
}
#endif

/* The one symbol that a plugin exports: WEIR_PLUGIN(my_analyzer); */
#define WEIR_PLUGIN(analyzer_)                                                         \
    WEIR_EXTERN __attribute__((visibility("default")))                                 \
    const struct weir_entry weir_plugin_abi1;                                          \
    const struct weir_entry weir_plugin_abi1 = {                                       \
        sizeof(struct weir_analyzer), sizeof(struct weir_param),                       \
        sizeof(struct weir_output), &(analyzer_)}

/* Makes `name`, an update function, of step(state *, const struct weir_rows *, row). */
#define WEIR_STEP(name, state_type, step)                                              \
    static int name(struct weir_ctx *ctx_, const struct weir_rows *rows_)              \
    {                                                                                  \
        const struct weir_rows r_ = *rows_; /* a copy that stays in registers */       \
        (void)ctx_;                                                                    \
        for (size_t i_ = 0; i_ < r_.n; i_++)                                           \
            step((state_type *)(void *)(r_.states + r_.group[i_] * r_.stride), &r_,    \
                 r_.row[i_]);                                                          \
        return 0;                                                                      \
    }
#endif
