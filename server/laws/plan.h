/* SPDX-License-Identifier: Apache-2.0
 *
 * Laws of analyzers: two ways to one result, each a list of steps. Both are made of the number of rows and of
 * chance alone, so that a law can be tried again on fewer rows.
 */
#ifndef WEIR_LAWS_PLAN_H
#define WEIR_LAWS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_STATES 16u /* of one way */

enum step_kind {
    STEP_NEW,  /* state s, from zeros, init called */
    STEP_FOLD, /* rows first, first + by, ..., n of them, in one call, into state s */
    STEP_DEAL, /* all rows in one call, row i into state s + i % n */
    STEP_RETRACT, /* rows first, ..., n of them, out of state s */
    STEP_MERGE, /* states t, t + 1, ... into s, s + 1, ..., n of them in one call; they are dropped */
    STEP_RELOAD, /* state s through save and load */
    STEP_EMIT, /* states s to s + n - 1 in one call; the way's result is what was given last */
    STEP_GIVE, /* the same, behind what was given before */
};

struct step {
    enum step_kind kind;
    uint32_t s, t, first, by, n;
    bool early,
        other; /* emit: the window is open yet; fold, give: in a second context */
};

struct way {
    struct step *step;
    size_t n, room;
    bool no_memory;
    unsigned layout; /* FRAME_STRANGERS, ... */
};

struct plan {
    struct way one, other;
};

/* What the analyzer has to have for a law to apply. */
#define LAW_MERGE   1u
#define LAW_RETRACT 2u

struct law {
    const char *name, *help; /* "split", "rows cut into calls in another way" */
    unsigned needs;
    bool
        rounded; /* floats may differ in their last digits, so extremes are not compared */
    void (*make)(struct plan *p, size_t rows, uint64_t seed);
};

extern const struct law laws[];
extern const size_t n_laws;

/* False: no memory. */
bool plan_make(struct plan *p, const struct law *law, size_t rows, uint64_t seed);
void plan_free(struct plan *p);

#endif
