/* SPDX-License-Identifier: Apache-2.0
 *
 * Goes the two ways of a plan with an analyzer and compares what it gives. The server's own host lends the calls;
 * columns and states lie in fenced memory, and what lies between states is looked at behind every call.
 */
#ifndef WEIR_LAWS_RUN_H
#define WEIR_LAWS_RUN_H

#include "laws/frame.h"
#include "laws/given.h"
#include "laws/plan.h"

#define RUN_TEXT 1536u

enum run_verdict {
    RUN_HOLDS,
    RUN_BROKEN,    /* report.said tells how */
    RUN_GAVE_UP,   /* by weir_fail: report.said is its text */
    RUN_NO_MEMORY, /* of ours */
};

/* In memory that outlives a process that crashes. */
struct run_report {
    char call[16]; /* the function of the plugin that is running; "": none */
    char said[RUN_TEXT];
    char one[RUN_TEXT], other[RUN_TEXT]; /* what each way gave; "": not compared */
};

/* A plugin that is called. */
struct runner {
    const struct binding *binding;
    const struct weir_analyzer *a;
    struct run_report *report;
    enum run_verdict verdict;
    struct host host[2];
    bool is_open[2];
    struct fence arena;
    size_t size, stride; /* of a state, and from one to the next */
    uint32_t n_slots;
    uint32_t slot[PLAN_STATES + 1]; /* of each state, and a free one */
    bool alive[PLAN_STATES];
    const struct rows *rows; /* those that the frame is made of */
    unsigned layout;
    uint32_t *kept[PLAN_STATES]; /* of the shape `whole`: numbers of a state's rows */
    size_t n_kept[PLAN_STATES];
    bool second[PLAN_STATES]; /* it belongs to host[1] */
};

/* Opens it, once or twice. RUN_HOLDS: go on. `rows` as in struct runner. */
enum run_verdict run_open(struct runner *r, const struct binding *b,
                          const struct rows *rows, struct run_report *report,
                          bool twice);
/* Drops what is left, closes, and looks whether memory came back. */
enum run_verdict run_close(struct runner *r);

/* Goes one way. */
enum run_verdict run_way(struct runner *r, const struct way *way, const struct frame *f,
                         struct given *given);

/* Tries a law on rows. */
enum run_verdict run_law(const struct binding *b, const struct law *law,
                         const struct rows *rows, bool compare, bool exact,
                         uint64_t seed, struct run_report *report);

void *run_state(const struct runner *r, uint32_t state);
enum run_verdict run_step(struct runner *r, const struct step *s, const struct frame *f,
                          struct given *given);
/* The window that all groups are in. */
const struct weir_window *run_window(bool early);

enum run_verdict run_broken(struct runner *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
