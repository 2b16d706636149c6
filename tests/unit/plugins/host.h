/* SPDX-License-Identifier: Apache-2.0
 *
 * A host for one plugin in a test: knows nothing of the server, only the plugin API.
 */
#ifndef TESTS_PLUGINS_HOST_H
#define TESTS_PLUGINS_HOST_H

#include "weir/plugin.h"

#include <stdbool.h>
#include <stddef.h>

#define HOST_INPUTS   4
#define HOST_OUTPUTS  64
#define HOST_SEQUENCE 65536
#define HOST_NUMBERS  256

/* A growing run of bytes: what save writes, or emitted cells as text. */
struct host_bytes {
    char *data;
    size_t size;
};

/* Rows as columns; of strings `text`. */
struct host_table {
    size_t n;
    uint64_t sequence; /* of row 0 is this; HOST_SEQUENCE at first */
    int64_t *time;
    struct weir_column input[HOST_INPUTS];
    uint8_t *validity[HOST_INPUTS];
    void *values[HOST_INPUTS];
    int32_t *offsets[HOST_INPUTS];
    char *bytes[HOST_INPUTS];
};

struct host {
    struct weir_ctx ctx; /* first: functions of the table get at the host through it */
    struct weir_host table;
    const struct weir_analyzer *analyzer;
    uint64_t config[512];
    double number[HOST_NUMBERS];   /* of the one parameter of type numbers */
    const char *name[HOST_INPUTS]; /* of the one parameter of type columns */
    char names[HOST_INPUTS][16];
    uint32_t types[HOST_INPUTS];
    size_t n_inputs, n_outputs;
    uint64_t skipped; /* rows */
    char error[256];
    size_t allocated; /* blocks of alloc that have not been freed */
    size_t bytes;     /* of these */
    size_t refuse;    /* alloc fails after so many more; 0: never */
};

/* Opens FILE.so and fills the config struct with defaults. Exits with a message on failure. */
void host_load(struct host *h, const char *path);

/* A parameter as text: a number, a word, words with commas; of a column "name:type", type i, f, b, s or t; columns, the last
 * that have inputs, with spaces between. */
void host_set(struct host *h, const char *name, const char *text);
int host_open(struct host *h); /* what the plugin's open says */
void host_close(struct host *h);

/* States as the server makes them: zeroed, aligned, init called. */
void *host_state(struct host *h);
void host_init(struct host *h, void *state); /* of zeros */
void host_drop(struct host *h, void *state); /* and frees */

/* A table of the host's input types with n rows and room for `bytes` of strings a column. */
struct host_table *host_table_new(const struct host *h, size_t n, size_t bytes);
void host_table_free(struct host_table *t);
void host_null(struct host_table *t, size_t input, size_t row);
void host_put_bool(struct host_table *t, size_t input, size_t row, bool value);
void host_put_text(struct host_table *t, size_t input, size_t row, const char *text,
                   size_t size);

/* One call of update: rows row[0..n) go to the states at states + group[i] * stride. */
int host_update(struct host *h, const struct host_table *t, const uint32_t *row,
                const uint32_t *group, size_t n, void *states, size_t stride);
/* All rows [first, first + n) into one state. */
int host_fold(struct host *h, const struct host_table *t, size_t first, size_t n,
              void *state);

/* Takes rows [first, first + n) out of a state again. */
int host_retract(struct host *h, const struct host_table *t, size_t first, size_t n,
                 void *state);
/* Folds `from` into `into` and drops it. */
int host_merge(struct host *h, void *into, void *from);

/* The results of n groups, asked for in one call: text[i], to be freed, is that of state[i], a line a row, cells separated by
 * tabs. False: emit failed. Checks that the states' own bytes did not change. */
bool host_emit_many(struct host *h, const void *const *state, size_t n, char **text);
char *host_emit(struct host *h, const void *state); /* of one; NULL: emit failed */

/* What save writes; data to be freed. */
struct host_bytes host_save(struct host *h, const void *state);
/* The state through save and load, or through its bytes. The old one is dropped. */
void *host_reload(struct host *h, void *state);

#endif
