/* SPDX-License-Identifier: Apache-2.0 */
#include "laws/plan.h"

#include "laws/dice.h"
#include "laws/frame.h"

#include <stdlib.h>

static void add(struct way *w, struct step step)
{
    if (w->n == w->room) {
        size_t room = w->room ? 2 * w->room : 32;
        struct step *more = realloc(w->step, room * sizeof(*more));
        if (!more) {
            w->no_memory = true;
            return;
        }
        w->step = more;
        w->room = room;
    }
    w->step[w->n++] = step;
}

static void add_new(struct way *w, uint32_t s)
{
    add(w, (struct step){.kind = STEP_NEW, .s = s});
}

static void add_fold(struct way *w, uint32_t s, size_t first, size_t n)
{
    add(w, (struct step){.kind = STEP_FOLD,
                         .s = s,
                         .first = (uint32_t)first,
                         .by = 1,
                         .n = (uint32_t)n});
}

static void add_emit(struct way *w, uint32_t s)
{
    add(w, (struct step){.kind = STEP_EMIT, .s = s, .n = 1});
}

/* What all laws but that of groups compare with: one state, one call. */
static void fold_all(struct way *w, size_t rows)
{
    add_new(w, 0);
    add_fold(w, 0, 0, rows);
    add_emit(w, 0);
}

/* Pieces of all rows, one after the other; of no rows, too. */
static size_t piece(struct dice *d, size_t left)
{
    return left < 9 ? dice(d, left + 1) : 1 + dice(d, left);
}

static void make_split(struct plan *p, size_t rows, uint64_t seed)
{
    struct dice d = dice_of(seed);
    fold_all(&p->one, rows);
    add_new(&p->other, 0);
    for (size_t at = 0, n; at < rows; at += n)
        add_fold(&p->other, 0, at, n = piece(&d, rows - at));
    add_fold(&p->other, 0, rows, 0);
    add_emit(&p->other, 0);
}

static void make_layout(struct plan *p, size_t rows, uint64_t seed)
{
    struct dice d = dice_of(seed);
    fold_all(&p->one, rows);
    fold_all(&p->other, rows);
    p->one.layout = FRAME_STRANGERS;
    p->other.layout = FRAME_STRANGERS | (1u + (unsigned)dice(&d, 7)) << 1;
}

static void make_groups(struct plan *p, size_t rows, uint64_t seed)
{
    struct dice d = dice_of(seed);
    uint32_t n = 2 + (uint32_t)dice(&d, 5);
    for (uint32_t g = 0; g < n; g++) {
        add_new(&p->one, g);
        add(&p->one,
            (struct step){.kind = STEP_FOLD,
                          .s = g,
                          .first = g,
                          .by = n,
                          .n = (uint32_t)(rows > g ? (rows - g - 1) / n + 1 : 0)});
        add(&p->one, (struct step){.kind = STEP_GIVE, .s = g, .n = 1});
    }
    for (uint32_t g = 0; g < n; g++)
        add_new(&p->other, g);
    add(&p->other, (struct step){.kind = STEP_DEAL, .s = 0, .n = n});
    add(&p->other, (struct step){.kind = STEP_GIVE, .s = 0, .n = n});
}

static void make_merge(struct plan *p, size_t rows, uint64_t seed)
{
    struct dice d = dice_of(seed);
    uint32_t pieces = 2 * (1 + (uint32_t)dice(&d, 3)), piece_of[8];
    size_t at = 0;
    fold_all(&p->one, rows);
    for (uint32_t i = 0; i < pieces; i++) {
        size_t left = rows - at, n = i + 1 == pieces ? left : dice(&d, left + 1);
        add_new(&p->other, i);
        add_fold(&p->other, i, at, n);
        piece_of[i] = i;
        at += n;
    }
    if (dice(&d, 2)) { /* pairs in one call */
        pieces /= 2;
        add(&p->other,
            (struct step){.kind = STEP_MERGE, .s = 0, .t = pieces, .n = pieces});
    }
    for (uint32_t n = pieces; n > 1; n--) {
        size_t a = dice(&d, n), b = dice(&d, n - 1);
        b += b >= a;
        add(&p->other,
            (struct step){
                .kind = STEP_MERGE, .s = piece_of[a], .t = piece_of[b], .n = 1});
        piece_of[b] = piece_of[n - 1];
    }
    add_emit(&p->other, piece_of[0]);
}

static void make_empty(struct plan *p, size_t rows, uint64_t seed)
{
    fold_all(&p->one, rows);
    add_new(&p->other, 0);
    add_new(&p->other, 1);
    add_fold(&p->other, seed & 1, 0, rows);
    add(&p->other, (struct step){.kind = STEP_MERGE, .s = 0, .t = 1, .n = 1});
    add_emit(&p->other, 0);
}

static void make_save(struct plan *p, size_t rows, uint64_t seed)
{
    struct dice d = dice_of(seed);
    fold_all(&p->one, rows);
    add_new(&p->other, 0);
    for (size_t at = 0, n; at < rows; at += n) {
        add(&p->other, (struct step){.kind = STEP_RELOAD, .s = 0});
        add_fold(&p->other, 0, at, n = piece(&d, rows - at));
    }
    add(&p->other, (struct step){.kind = STEP_RELOAD, .s = 0});
    add_emit(&p->other, 0);
}

static void make_emit(struct plan *p, size_t rows, uint64_t seed)
{
    struct dice d = dice_of(seed);
    fold_all(&p->one, rows);
    add_new(&p->other, 0);
    for (size_t at = 0, n; at < rows; at += n) {
        add(&p->other, (struct step){.kind = STEP_EMIT, .s = 0, .n = 1, .early = true});
        add_fold(&p->other, 0, at, n = piece(&d, rows - at));
    }
    add_emit(&p->other, 0);
    add_emit(&p->other, 0);
}

static void add_retract(struct way *w, size_t first, size_t n)
{
    add(w, (struct step){.kind = STEP_RETRACT,
                         .s = 0,
                         .first = (uint32_t)first,
                         .by = 1,
                         .n = (uint32_t)n});
}

static void make_retract(struct plan *p, size_t rows, uint64_t seed)
{
    struct dice d = dice_of(seed);
    size_t gone = dice(&d, rows + 1);
    add_new(&p->one, 0);
    add_fold(&p->one, 0, gone, rows - gone);
    add_emit(&p->one, 0);
    add_new(&p->other, 0);
    if (dice(&d, 2)) { /* the last first, once all are in */
        for (size_t at = 0, n; at < rows; at += n)
            add_fold(&p->other, 0, at, n = piece(&d, rows - at));
        for (size_t end = gone, n; end > 0; end -= n) {
            n = piece(&d, end);
            add_retract(&p->other, end - n, n);
        }
    } else {
        for (size_t at = 0, out = 0, n; at < rows || out < gone; out += n) {
            n = dice(&d, rows - at + 1);
            add_fold(&p->other, 0, at, n);
            at += n;
            n = dice(&d, (at < gone ? at : gone) - out + 1);
            add_retract(&p->other, out, n);
        }
    }
    add_emit(&p->other, 0);
}

/* Two places in pipelines: what one sees must not change what the other gives. */
static void make_contexts(struct plan *p, size_t rows, uint64_t seed)
{
    struct dice d = dice_of(seed);
    fold_all(&p->one, rows);
    add_new(&p->other, 0);
    add(&p->other, (struct step){.kind = STEP_NEW, .s = 1, .other = true});
    for (size_t at = 0, n; at < rows; at += n) {
        add_fold(&p->other, 0, at, n = piece(&d, rows - at));
        add(&p->other, (struct step){.kind = STEP_FOLD,
                                     .s = 1,
                                     .first = 0,
                                     .by = 1,
                                     .n = (uint32_t)(at + n),
                                     .other = true});
    }
    add(&p->other, (struct step){.kind = STEP_EMIT, .s = 1, .n = 1, .other = true});
    add_emit(&p->other, 0);
}

const struct law laws[] = {
    {"split", "the same rows, cut into calls in another way", 0, false, make_split},
    {"layout", "the same rows, laid out in another way", 0, false, make_layout},
    {"groups", "groups in one call, and each alone", 0, false, make_groups},
    {"emit", "results are asked for on the way", 0, false, make_emit},
    {"save", "states go through save and load on the way", 0, false, make_save},
    {"contexts", "a second context folds rows at the same time", 0, false,
     make_contexts},
    {"empty", "a state of no rows is merged", LAW_MERGE, true, make_empty},
    {"merge", "states of parts are merged, in any order and tree", LAW_MERGE, true,
     make_merge},
    {"retract", "rows are folded in and taken out again, in any order", LAW_RETRACT,
     true, make_retract},
};
const size_t n_laws = sizeof(laws) / sizeof(laws[0]);

bool plan_make(struct plan *p, const struct law *law, size_t rows, uint64_t seed)
{
    *p = (struct plan){0};
    law->make(p, rows, seed);
    if (!p->one.no_memory && !p->other.no_memory)
        return true;
    plan_free(p);
    return false;
}

void plan_free(struct plan *p)
{
    free(p->one.step);
    free(p->other.step);
    *p = (struct plan){0};
}
