/* SPDX-License-Identifier: Apache-2.0
 *
 * The one place that knows all stages and ties them together:
 *
 *      source_stream --sink--> log --log_sink--> pipelines --pipeline_sink--> store
 *
 * `weir check` goes half of this way, `weir run` and `weir serve` all of it.
 */
#ifndef WEIR_WIRE_H
#define WEIR_WIRE_H

#include "analyze/pipeline.h"
#include "config/config.h"
#include "log/idempotency.h"
#include "log/log.h"
#include "source/source.h"
#include "store/store.h"

struct weir_intake { /* what the sink of a stream hands to */
    struct log *log;
    struct idempotency *keys;
    struct store *store;
};

struct weir {
    struct config *config;
    struct metrics *metrics;
    struct plugins *plugins;
    struct pipeline **pipeline; /* config->n_pipelines */
    struct store *store;
    struct log **log;             /* config->n_streams */
    struct source_stream *stream; /* config->n_streams */
    struct weir_intake *intake;   /* config->n_streams */
    bool lost;                    /* results that were not committed at the end */
};

/* Reads the configuration, loads plugins, binds the pipelines. *ret_exit: what the process should exit
 * with on failure (78, 74, ...). */
int weir_load(const char *config_path, struct weir **ret, int *ret_exit,
              struct error *error);

/* Opens the database (`path`: instead of the configured one, or NULL) and makes the tables. */
int weir_open_store(struct weir *w, const char *path, int *ret_exit,
                    struct error *error);

/* Threads run; streams can be written to. */
int weir_start(struct weir *w, int *ret_exit, struct error *error);

/* Streams take no more; all that was taken is folded and committed. With `end` every window closes, and
 * the database is waited for; without, open windows are given up, their number is returned, and a
 * database that cannot be written to is waited for no longer than store_hurry says. */
uint64_t weir_stop(struct weir *w, bool end);

/* True if a pipeline has failed, or results were not committed (it has been logged). */
bool weir_failed(struct weir *w);

void weir_free(struct weir *w); /* takes NULL */

/* sysexits.h, as the manual page names them. */
enum {
    EXIT_USAGE = 64,
    EXIT_BAD_INPUT = 65,
    EXIT_UNAVAILABLE = 69,
    EXIT_CANNOT_CREATE = 73,
    EXIT_IO = 74,
    EXIT_CONFIG = 78
};

#endif
