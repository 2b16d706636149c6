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

#include "config/config.h"
#include "hook/hooks.h"
#include "log/log.h"
#include "pipeline/pipeline.h"
#include "pipeline/running.h"
#include "source/source.h"
#include "store/store.h"
#include "target/target.h"

struct weir_intake { /* what the sink of a stream hands to */
    struct log *log;
    struct store *store;
    const struct config_server *server;
    const char *stream;
    _Atomic int64_t
        clock_us; /* clock_steady_us: of what is given the time it arrives */
    _Atomic bool
        clock_raised; /* release, acquire: to what was given before the start */
    int64_t fixed_us; /* of a fixed clock */
    uint64_t
        kept; /* keys of requests up to here were given to the store; the dispatcher's */
};

struct weir {
    struct config *config; /* of the start: server and streams stay as it says */
    struct metrics *metrics;
    struct plugins *plugins;
    struct pipeline **pipeline; /* those in force; the main thread's */
    size_t n_pipelines;
    struct running *running; /* the same, for the others */
    struct store *store;
    struct hook_spec *hook_specs;  /* those of the start, until hooks take them */
    _Atomic(struct hooks *) hooks; /* NULL: there are none; release, acquire */
    struct target_set *target_set[CARRIED_TARGETS]; /* tables of the start, likewise */
    _Atomic(struct target *)
        target[CARRIED_TARGETS];  /* NULL: nothing goes there; release, acquire */
    struct lookups *lookups;      /* NULL: no pipeline has asked for them yet */
    struct tasks *front, *back;   /* threads for logs; for dispatching and pipelines */
    struct log **log;             /* config->n_streams */
    struct source_stream *stream; /* config->n_streams */
    struct weir_intake *intake;   /* config->n_streams */
    _Atomic bool wired;           /* all logs are made: release, acquire */
    /* Fields were added while it runs: what is in force of each stream; and configurations whose columns rows may have,
     * until the end. The main thread's. */
    struct source_change **change; /* config->n_streams, NULL: as at the start */
    struct config **past;
    size_t n_past;
    struct config *
        latest; /* a reference: that of the last reload; NULL: `config`. The main thread's. */
    char *journal; /* folder of the journals, a folder for each stream in it */
    const bool *
        only; /* WEIR_RUN: of each stream: it runs; others stay as they are. NULL: all run */
    bool relaxed; /* WEIR_RUN: the database is synced at the end only */
    bool again;   /* as store_options */
    uint64_t
        keep_open; /* bytes of all its open windows, which close at the end; 0: as events come */
    /* --without: pipelines that keep their places and do not run; n_without. */
    const char *const *without;
    size_t n_without;
    _Atomic(const char *)
        *step;         /* what a stop waits for; relaxed, for people; or NULL */
    bool serves;       /* as of the mode of weir_start */
    bool folders_made; /* those of the streams' journals, durably */
    bool skip_damaged; /* --skip-damaged: go on where a journal cannot be read */
    bool fixed_clock;  /* of arrival, and of what lies ahead: it stands at clock_us */
    int64_t clock_us;  /* INT64_MIN: nothing lies ahead, what arrives does so in 2000 */
    bool lost;         /* results that were not committed at the end */
    /* Says that a pipeline has crashed and waits for weir_restart; NULL: nobody starts it again. */
    void (*crashed)(void);
    struct results_feed *results; /* results_feed.c; NULL: nobody joins results */
    struct copying *copying;      /* copies.c; NULL: the database is not copied */
    struct backfill *backfills;   /* backfill.c; of whoever starts pipelines */
    struct restarts
        *restarts; /* restart.c; of whoever calls weir_restart and weir_reload */
    struct crashes *crashes; /* crashes.c; likewise. NULL: nothing is noted */
};

/* Reads the configuration, loads plugins, binds the pipelines. *ret_exit: what the process should exit
 * with on failure (78, 74, ...). */
int weir_load(const char *config_path, struct weir **ret, int *ret_exit,
              struct error *error);

/* The same for `weir serve`, with what crashes before have taught (crashes.h): analyzers that ended the server run in a process
 * of their own, or their pipelines are left out. `database`: instead of the configured one, or NULL. */
int weir_load_to_serve(const char *config_path, const char *database, struct weir **ret,
                       int *ret_exit, struct error *error);

/* The same of a configuration that was read; takes it. */
int weir_load_config(struct config *config, struct weir **ret, int *ret_exit,
                     struct error *error);

/* The folder of the journals that belong to a database (`database` NULL: the configured one): as configured,
 * or DATABASE.journal. malloc'ed; NULL: no memory. */
char *weir_journal_folder(const struct config_server *s, const char *database);

/* Whether weir_open_store would do with the configured database. Nothing is written. */
int weir_try_store(const struct weir *w, int *ret_exit, struct error *error);

/* Opens the database (`path`: instead of the configured one, or NULL) and makes the tables. */
int weir_open_store(struct weir *w, const char *path, int *ret_exit,
                    struct error *error);

/* By enum carried_to. */
extern const struct target_kind *const weir_target[CARRIED_TARGETS];

enum weir_mode {
    WEIR_SERVE, /* events go through journals */
    WEIR_RUN,   /* they come from files, which are their own journal */
};

/* Recovers what the database and the journals have. Threads run; streams can be written to. */
int weir_start(struct weir *w, enum weir_mode mode, int *ret_exit, struct error *error);

/* Streams take no more; what was taken is folded, checkpoints are made as `end` says (log/log.h), and all is
 * committed. Waits for the pipelines until the deadline (clock_monotonic_us), but for LOG_FINISH; for the
 * database as long as it takes with LOG_FINISH, otherwise as store_hurry says. Returns how many groups of
 * open windows there are. */
uint64_t weir_stop(struct weir *w, enum log_end end, int64_t deadline_us);

/* All streams can be written to: their journals have been read. False: `why` says what is missing. */
bool weir_is_ready(struct weir *w, struct error *why);

/* The same, and nothing keeps the journals and the database from being written: room, files that are where they
 * were. */
bool weir_can_take(struct weir *w, struct error *why);

/* Recovers a pipeline and those that read it, and starts them; `live` as of pipeline_start. */
struct restore;
int weir_start_pipeline(struct weir *w, struct restore *r, struct pipeline *p,
                        bool live, struct error *error);

/* Makes the pipelines of a configuration whose names wanted() accepts (NULL: all), parents first, into `ret`, by their place in it;
 * those that cannot be made stay NULL, as do those that read one that is left out and has no tables (left_out). */
int weir_make_pipelines(struct weir *w, struct config *config, struct metrics *metrics,
                        bool (*wanted)(void *ctx, size_t i), void *ctx,
                        struct pipeline **ret, struct error *error);

/* Those that are there come first. Returns how many. */
size_t weir_close_gaps(struct pipeline **list, size_t n);

/* What is in force of a stream. The main thread. */
const struct config_stream *weir_stream(const struct weir *w, size_t i);
/* How its events are decoded, by the server's section of the start. */
struct decode_options weir_decode(const struct weir *w, const struct config_stream *c);

/* Begins to send rows; takes the specs. */
int weir_start_hooks(struct weir *w, struct hook_spec *specs, struct error *error);

/* --without has its name. */
bool weir_goes_without(const struct weir *w, const char *pipeline);
/* It, or one that it reads, or whose results it joins, is left out. */
bool weir_leaves_out(const struct weir *w, const struct pipeline *p);

/* True if a pipeline has failed, or results were not committed (it has been logged). Any thread. */
bool weir_failed(struct weir *w);

void weir_free(struct weir *w); /* takes NULL */

/* sysexits.h, as the manual page names them. */
enum {
    EXIT_USAGE = 64,
    EXIT_BAD_INPUT = 65,
    EXIT_UNAVAILABLE = 69,
    EXIT_CANNOT_CREATE = 73,
    EXIT_IO = 74,
    EXIT_SUPERSEDED = 75, /* another goes on in its place */
    EXIT_CONFIG = 78
};

#endif
