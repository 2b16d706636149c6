/* SPDX-License-Identifier: Apache-2.0
 *
 * weir/plugin.h - all that an analyzer plugin needs to know of weir; see weir-plugin(3).
 *
 * An analyzer is an accumulator. It says what to remember of a group of rows (one key in one
 * window), how to fold rows in, how to merge two states, and what to give out. The server does
 * the rest: windows, keys, late rows, tables. It allocates states, zeroed, aligned to 16 bytes:
 *
 *      zeroed bytes --init--> state <--update-- rows of every batch, in the order of the log
 *                               |  <--merge--- a state of other rows of the group
 *                               |  <--load---- bytes that save wrote, maybe in another process
 *           a result is due     +---emit-----> cells of the result table
 *                               +---drop-----> memory back to the server
 *
 * Calls:    come from threads of the server, never two at once for one ctx, and as `threads`
 *           allows. None may block, exit, throw, or change settings of the process.
 * Errors:   0 is success; weir_fail(ctx, "text") is negative: the pipeline stops and says so.
 * Values:   times are int64 microseconds since 1970-01-01 UTC; strings UTF-8 with a length.
 * Pointers: what a call is given lives until it returns; what it gives is copied at once.
 * Growth:   structs grow at their ends. A server older than the header that a plugin was built
 *           with leaves zeros there, and refuses a plugin that asks for what it does not know. */
#ifndef WEIR_PLUGIN_H
#define WEIR_PLUGIN_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
#define WEIR_EXTERN extern "C"
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
enum { WEIR_DECIMAL = 6, WEIR_BYTES, WEIR_LIST, WEIR_STRUCT }; /* reserved */

struct weir_column {
    uint32_t type, flags;    /* enum weir_type; 0, later: which members stand behind */
    const uint8_t *validity; /* bit i is 0 where row i is null; NULL: no row is */
    const void *values;      /* of null rows 0; with a dictionary int32_t codes[] */
    const int32_t *offsets; /* string k is bytes[offsets[k]] to bytes[offsets[k + 1]] */
    const char *bytes;
    int64_t null_count;
    int64_t dictionary_size; /* > 0: row i has string codes[i]; 0: row i has string i */
};

/* The i-th row is row row[i] of the columns, its event time is time[row[i]], its state is at
 * states + group[i] * stride. in[k] is the k-th input: the columns that parameters of type
 * column and columns name, in the order of their table; NULL: not given. */
struct weir_rows {
    size_t size, n;        /* of this struct, bytes; of rows, may be 0 */
    const uint32_t *row;   /* rising */
    const uint32_t *group; /* several rows may have the same */
    char *states;
    size_t stride; /* bytes */
    const int64_t *time;
    const struct weir_column *const *in;
    uint64_t sequence; /* see weir_sequence */
};

static inline int weir_is_null(const struct weir_column *c, uint32_t row)
{
    return c->validity && !(c->validity[row >> 3] >> (row & 7) & 1);
}
/* weir_int: int, time. weir_number: int, float. weir_string: the bytes, *size of them. */
static inline int64_t weir_int(const struct weir_column *c, uint32_t row)
{
    return ((const int64_t *)c->values)[row];
}
static inline double weir_number(const struct weir_column *c, uint32_t row)
{
    return c->type == WEIR_FLOAT ? ((const double *)c->values)[row]
                                 : (double)weir_int(c, row);
}
static inline int weir_bool(const struct weir_column *c, uint32_t row)
{
    return ((const uint8_t *)c->values)[row >> 3] >> (row & 7) & 1;
}
static inline const char *weir_string(const struct weir_column *c, uint32_t row,
                                      size_t *size)
{
    size_t k = c->dictionary_size ? (size_t)((const int32_t *)c->values)[row] : row;
    *size = (size_t)(c->offsets[k + 1] - c->offsets[k]);
    return c->bytes + c->offsets[k];
}
/* The row's place in its stream's log: rising, never 0, the same whenever that is read again.
 * Update sees rows in this order; states to merge may have them in any. */
static inline uint64_t weir_sequence(const struct weir_rows *r, uint32_t row)
{
    return r->sequence + row;
}

/* ---- Windows and groups ------------------------------------------------------------- */
struct weir_cell {       /* a value of a key column; never grows */
    uint32_t type, size; /* enum weir_type, 0: null; of a string, bytes */
    union {
        int64_t i; /* int, time, bool */
        double f;
        const char *s;
    } as;
};
#define WEIR_EARLY   1u /* flag: the window is still open */
#define WEIR_FINAL   2u /* flag: the watermark has passed its end */
#define WEIR_REVISED 4u /* flag: rows came since the result was given out before */
struct weir_window {
    size_t size;                 /* of this struct, bytes */
    int64_t start, end;          /* [start, end); INT64_MIN, INT64_MAX: it has none */
    uint32_t flags, n_keys;      /* flags: for emit, WEIR_EARLY, ... */
    const struct weir_cell *key; /* of the group, in the order of the configuration */
};

/* ---- What the server lends ----------------------------------------------------------- */
struct weir_out; /* where results and saved bytes go */
struct weir_output;
/* One for each worker and each place an analyzer has in a pipeline. */
struct weir_ctx {
    const struct weir_host *host;
    const void *config;    /* the plugin's own struct, filled from its parameters */
    void *user;            /* the plugin's; NULL before open */
    const uint32_t *types; /* enum weir_type of each input; 0: not given */
    size_t n_inputs;
    size_t size; /* of this struct, bytes */
};
enum weir_level { WEIR_DEBUG, WEIR_INFO, WEIR_WARN, WEIR_ERROR };
struct weir_host {
    size_t size;                                            /* of this table, bytes */
    int (*fail)(struct weir_ctx *, const char *format, ...) /* returns -1 */
        __attribute__((format(printf, 2, 3)));
    void (*log)(struct weir_ctx *, enum weir_level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
    /* Counted, zeroed; NULL over the limit. What is taken after open belongs to states. */
    void *(*alloc)(struct weir_ctx *, size_t size);
    void (*free)(struct weir_ctx *, void *); /* takes NULL */
    /* So many rows were of no use, because of word number `reason` of `reasons`. */
    void (*skip)(struct weir_ctx *, uint32_t reason, uint64_t rows);
    int (*outputs)(struct weir_ctx *, const struct weir_output *); /* see `outputs` */
    /* In emit: what follows is of group i. They come in rising order, none need come. */
    int (*group)(struct weir_ctx *, struct weir_out *, size_t i);
    /* Sets the cell of an output, which is null before, and where a float is NaN. A cell that
     * there is not, another type than declared, a string that is not UTF-8 or longer than
     * 16 MiB stop the pipeline. int: also for time, and 0 or 1 for bool. */
    int (*put_int)(struct weir_ctx *, struct weir_out *, uint32_t cell, int64_t);
    int (*put_float)(struct weir_ctx *, struct weir_out *, uint32_t cell, double);
    int (*put_string)(struct weir_ctx *, struct weir_out *, uint32_t cell, const char *,
                      size_t size);
    /* With WEIR_MANY_ROWS: the cells put since the last one are a row of the group. */
    int (*row)(struct weir_ctx *, struct weir_out *);
    int (*write)(struct weir_ctx *, struct weir_out *, const void *bytes, size_t n);
    int (*leave_out)(struct weir_ctx *, uint32_t input); /* in open: it is not kept */
    /* In open, one line: what else the form of states depends on; others are not loaded. */
    int (*form)(struct weir_ctx *, const char *text);
};
#define weir_fail(ctx, ...)               ((ctx)->host->fail((ctx), __VA_ARGS__))
#define weir_put_int(ctx, out, cell, v)   ((ctx)->host->put_int(ctx, out, cell, v))
#define weir_put_float(ctx, out, cell, v) ((ctx)->host->put_float(ctx, out, cell, v))
#define weir_put_string(ctx, out, cell, s, n)                                          \
    ((ctx)->host->put_string(ctx, out, cell, s, n))

/* ---- What a plugin declares ----------------------------------------------------------- */
enum weir_param_type {
    WEIR_PARAM_INT = 1,    /* int64_t in the config struct */
    WEIR_PARAM_FLOAT = 2,  /* double */
    WEIR_PARAM_BOOL = 3,   /* int */
    WEIR_PARAM_STRING = 4, /* const char *, zero-terminated, NULL when not given */
    WEIR_PARAM_CHOICE = 5, /* int: index of the word in `choices` */
    WEIR_PARAM_SET = 6,    /* uint32_t: bit k for word k of `choices` */
    WEIR_PARAM_COLUMN = 7, /* const char *: the column's name; the column is an input */
    WEIR_PARAM_COLUMNS = 8, /* struct weir_columns; each is an input */
    WEIR_PARAM_NUMBERS = 9, /* struct weir_numbers */
};
struct weir_columns {  /* never grows */
    uint32_t first, n; /* in[first] is the first of n; 0: not given */
    const char *const *name;
};
struct weir_numbers { /* never grows */
    size_t n;         /* at most 256; 0: not given */
    const double *value;
};
#define WEIR_REQUIRED   1u /* flag: must be given */
#define WEIR_DICTIONARY 2u /* flag: string columns come with a dictionary */
#define WEIR_ALL        4u /* flag of COLUMNS: not given, all of column_types */
#define WEIR_FILE       8u /* flag of STRING: the path of a file; its contents count, too */
#define WEIR_ASKED      16u /* flag of COLUMN: others are asked about it, async.h */
#define WEIR_TYPES(t)   (1u << (t)) /* a set: WEIR_TYPES(WEIR_INT) | ... */
#define WEIR_NUMBERS    (WEIR_TYPES(WEIR_INT) | WEIR_TYPES(WEIR_FLOAT))

struct weir_param {
    const char *name;     /* NULL ends the table */
    uint32_t type, flags; /* enum weir_param_type; WEIR_REQUIRED, WEIR_DICTIONARY */
    size_t offset;        /* of the member in the config struct */
    const char *init;     /* default as in YAML: "10", "mean, max"; NULL: zero */
    const char *help;     /* one line, with the unit */
    const char *choices;  /* CHOICE and SET: the words, "count sum mean" */
    double min, max; /* INT, FLOAT, NUMBERS: the range, both included; both 0: any */
    uint32_t column_types; /* COLUMN, COLUMNS: WEIR_TYPES(...) that it takes */
};
/* A column of the result table. `{of}` in a name becomes the value of the parameter `of`; if not
 * given, it goes with the underscore behind it. One that is not wanted has a cell all the same. */
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
#define WEIR_MANY_ROWS 1u /* flag: any number of rows a group, in a table of its own */
#define WEIR_WHOLE     2u /* flag: `whole` in place of states, which it has none of */
/* Functions are NULL where not needed; update and emit are needed, or whole. */
struct weir_analyzer {
    const char *name; /* [a-z][a-z0-9_]*, that of the .so and in the configuration */
    const char *version, *help;        /* for people; help: one line */
    uint32_t flags, threads;           /* WEIR_MANY_ROWS, ...; enum weir_threads */
    const struct weir_param *params;   /* NULL: none */
    const struct weir_output *outputs; /* NULL: open describes them, host->outputs */
    const char *reasons; /* words for host->skip, "nan negative"; at most 16 */
    size_t config_size, state_size; /* config struct: at most 4096; a state: 1 MiB */
    /* The form of states and of what save writes. Raised when it changes; load takes those
     * from oldest_version on (0: only this one). Of others open windows begin anew. */
    uint32_t state_version, oldest_version;
    int (*open)(struct weir_ctx *);   /* check parameters, prepare */
    void (*close)(struct weir_ctx *); /* the last call; also after a failed open */
    int (*init)(struct weir_ctx *, const struct weir_window *, void *state);
    void (*drop)(struct weir_ctx *, void *state);
    int (*update)(struct weir_ctx *, const struct weir_rows *);
    /* Takes rows out again that update has folded in, in any order. NULL: the server keeps them. */
    int (*retract)(struct weir_ctx *, const struct weir_rows *);
    /* Folds from[i], which has other rows of the same group, into into[i], i < n. In any order
     * and as any tree the result is the same, but for the rounding of floats. */
    int (*merge)(struct weir_ctx *, size_t n, const struct weir_window *const *window,
                 void *const *into, const void *const *from);
    /* Results of n groups: host->group, cells, with WEIR_MANY_ROWS host->row; changes no state. */
    int (*emit)(struct weir_ctx *, size_t n, const struct weir_window *const *window,
                const void *const *state, struct weir_out *);
    /* All rows of a group, by time, then log, numbered from 1; as emit behind host->group. */
    int (*whole)(struct weir_ctx *, const struct weir_window *,
                 const struct weir_rows *, struct weir_out *);
    /* To bytes (host->write), and back into what init has made: states with own memory. */
    int (*save)(struct weir_ctx *, const void *state, struct weir_out *);
    int (*load)(struct weir_ctx *, void *state, uint32_t version, const void *bytes,
                size_t size);
    const struct weir_async *async; /* weir/async.h; NULL: it asks nobody */
};

/* The one symbol of a plugin, by WEIR_PLUGIN(name); the sizes are those of its header. */
struct weir_entry {
    size_t size, analyzer_size, param_size, output_size;
    size_t ctx_size, host_size, rows_size, window_size;
    const struct weir_analyzer *analyzer;
};
/* clang-format off */
#define WEIR_PLUGIN(analyzer_)                                                         \
    WEIR_EXTERN __attribute__((visibility("default")))                                 \
    const struct weir_entry weir_plugin_abi1;                                          \
    const struct weir_entry weir_plugin_abi1 = {                                       \
        sizeof(struct weir_entry), sizeof(struct weir_analyzer),                       \
        sizeof(struct weir_param), sizeof(struct weir_output),                         \
        sizeof(struct weir_ctx), sizeof(struct weir_host),                             \
        sizeof(struct weir_rows), sizeof(struct weir_window), &(analyzer_)}

/* Each makes `name`, a function for struct weir_analyzer, of one for a single row or group:
 *      void step(state *, const struct weir_rows *, uint32_t row)
 *      int one(ctx, state *into, const state *from, const struct weir_window *)
 *      int one(ctx, const state *, const struct weir_window *, struct weir_out *) */
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
#define WEIR_MERGE(name, state_type, one)                                              \
    WEIR_EACH_(name, one(c_, (state_type *)s_[i_], (const state_type *)x_[i_], w_[i_]), \
               void *const *s_, const void *const *x_)
#define WEIR_EMIT(name, state_type, one)                                               \
    WEIR_EACH_(name, c_->host->group(c_, x_, i_) ? -1 :                                \
               one(c_, (const state_type *)s_[i_], w_[i_], x_),                        \
               const void *const *s_, struct weir_out *x_)
#define WEIR_EACH_(name, call, ...)                                                    \
    static int name(struct weir_ctx *c_, size_t n_,                                    \
                    const struct weir_window *const *w_, __VA_ARGS__)                  \
    {                                                                                  \
        int r_ = 0;                                                                    \
        for (size_t i_ = 0; !r_ && i_ < n_; i_++)                                      \
            r_ = (call);                                                               \
        return r_;                                                                     \
    }
#endif
