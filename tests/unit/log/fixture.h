/* SPDX-License-Identifier: Apache-2.0
 *
 * A log with a journal in a temporary folder, and pipelines that keep what they get.
 */
#ifndef WEIR_TESTS_LOG_FIXTURE_H
#define WEIR_TESTS_LOG_FIXTURE_H

#include "base/clock.h"
#include "log/log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SINKS       2
#define SINK_MAX    20000
#define PATIENCE_US (30 * SECOND_US) /* for anything that is waited for */

struct fixture;

struct sink { /* a pipeline; its name is "a" or "b" */
    struct fixture *fixture;
    char name[2];
    uint64_t position;        /* from which it is subscribed */
    int64_t idle_us;          /* its idle_timeout */
    const int64_t *source_us; /* as of log_sink */
    uint32_t n_sources;
    _Atomic bool
        stores; /* checkpoints are in the database as soon as they are asked for */
    _Atomic bool failed;   /* what log_sink.failed says */
    size_t refusals;       /* of checkpoints: so many have no room */
    size_t checkpoints;    /* that it was asked for */
    uint64_t checkpointed; /* position of the last one */
    size_t keys;
    struct log_entry *entry[SINK_MAX]; /* without checkpoints */
    size_t n;
};

struct fixture {
    char root[64], folder[80];
    struct schema *schema;
    struct metrics *metrics;
    struct journal_options journal;
    struct log_options options;
    struct log *log;
    struct tasks *tasks;
    pthread_mutex_t lock; /* protects the sinks and all below */
    pthread_cond_t changed;
    bool gate_closed;   /* sinks have no room */
    _Atomic bool keeps; /* keys are in the database as soon as the log says so */
    uint64_t kept;
    void (*on_put)(struct fixture *f, const struct log_entry *e);
    bool bad; /* what on_put found */
    size_t n_sinks;
    struct sink sink[SINKS];
    char marks[512];  /* bookmarks that were kept: "source=bookmark " */
    char known[4096]; /* keys found by fixture_keys: "key@position " */
};

int fixture_setup(void **state);
int fixture_teardown(void **state);

/* Opens, subscribes n_sinks pipelines, starts. What sinks had is forgotten. */
void fixture_open(struct fixture *f);
/* Ends the log without a trace in the database, as a crash would. */
void fixture_leave(struct fixture *f);
void fixture_close(struct fixture *f, enum log_end end);

void fixture_forget(struct fixture *f); /* what sinks had */

void fixture_gate(struct fixture *f, bool closed);
void fixture_wait_ready(struct fixture *f);
/* Until the sink has `n` entries. */
void fixture_wait_entries(struct fixture *f, const struct sink *s, size_t n);

/* The first one of the kind that the sink has or gets. */
const struct log_entry *fixture_wait_kind(struct fixture *f, const struct sink *s,
                                          enum log_kind kind);

/* What pipelines do with an entry (log_sink.put). */
bool sink_put(void *sink, struct log_entry *e, bool command);
struct log_sink sink_of(struct sink *s);

/* Rows with n = first, first + 1, ...; time = n seconds. With what is beside it, a row takes 16 bytes of the
 * journal at least, and 32 at most. */
struct batch *fixture_rows(struct fixture *f, int64_t first, uint32_t n);

/* Somebody who waits. */
struct waited {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    struct ticket ticket;
};
struct waited *waited_new(void);
/* The ticket's result, and frees it. */
int waited_for(struct waited *w, uint64_t *ret_position);

/* A request of one batch. With `w` it asks; with `key` it has one. Returns what log_append says. */
int fixture_append(struct fixture *f, uint32_t source, int64_t first, uint32_t n,
                   const char *key, struct waited *w);
/* The same, durable; returns the position. */
uint64_t fixture_durable(struct fixture *f, uint32_t source, int64_t first, uint32_t n,
                         const char *key);

/* Into f->known: keys of positions (after, up_to]. */
const char *fixture_keys(struct fixture *f, uint64_t after, uint64_t up_to);

/* The rows of all batches of the sink must be first, first + 1, ..., to - 1, in the order of the log, at
 * positions from `position` on. */
void sink_check(const struct sink *s, uint64_t position, int64_t first, int64_t to);

#endif
