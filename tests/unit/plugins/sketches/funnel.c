/* SPDX-License-Identifier: Apache-2.0
 *
 * A funnel: how far rows of a group got through the steps view, cart, paid, in this order of the log.
 * Asks for: an order of rows that two states can be merged by, whichever came first. For each step the state
 * keeps the rows of that step that came first and last, by sequence number; with three steps the middle
 * one needs the smallest number behind the first view and the largest before the last pay, so all
 * numbers of `cart` are kept, up to a limit.
 */
#include "weir/plugin.h"

#include <string.h>

#define CARTS 256

struct config {
    const char *step;
};

struct state {
    uint64_t first_view; /* sequence numbers; 0: none */
    uint64_t last_paid;
    uint64_t cart[CARTS]; /* rising; of more, the first half and the last are kept */
    uint32_t n;
};

static void add_cart(struct state *s, uint64_t sequence)
{
    uint32_t at = s->n;
    while (at > 0 && s->cart[at - 1] > sequence)
        at--;
    if (s->n == CARTS) {
        uint32_t gone = CARTS / 2;
        memmove(s->cart + gone, s->cart + gone + 1,
                (CARTS - gone - 1) * sizeof(*s->cart));
        s->n--;
        at -= at > gone;
    }
    memmove(s->cart + at + 1, s->cart + at, (s->n - at) * sizeof(*s->cart));
    s->cart[at] = sequence;
    s->n++;
}

static void add_view(struct state *s, uint64_t sequence)
{
    if (sequence && (!s->first_view || sequence < s->first_view))
        s->first_view = sequence;
}

static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    uint64_t sequence = weir_sequence(r, row);
    size_t size;
    const char *word = weir_string(r->in[0], row, &size);
    if (size == 4 && memcmp(word, "view", 4) == 0)
        add_view(s, sequence);
    else if (size == 4 && memcmp(word, "cart", 4) == 0)
        add_cart(s, sequence);
    else if (size == 4 && memcmp(word, "paid", 4) == 0 && sequence > s->last_paid)
        s->last_paid = sequence;
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *w)
{
    (void)ctx, (void)w;
    add_view(into, from->first_view);
    for (uint32_t i = 0; i < from->n; i++)
        add_cart(into, from->cart[i]);
    into->last_paid =
        from->last_paid > into->last_paid ? from->last_paid : into->last_paid;
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *w, struct weir_out *out)
{
    int reached = s->first_view != 0;
    (void)w;
    for (uint32_t i = 0; reached && i < s->n; i++)
        if (s->cart[i] > s->first_view)
            reached = s->last_paid > s->cart[i] ? 3 : reached < 2 ? 2 : reached;
    return weir_put_int(ctx, out, 0, reached);
}

WEIR_STEP(update, struct state, step)
WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "step",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED,
     .offset = offsetof(struct config, step),
     .help = "the column that says view, cart or paid",
     .column_types = WEIR_TYPES(WEIR_STRING)},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {"reached", WEIR_INT, "steps reached in their order, 0 to 3", NULL},
    {.name = NULL},
};

static const struct weir_analyzer funnel = {
    .name = "funnel",
    .version = "1.0",
    .help = "How far a group got through view, cart, paid",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .update = update,
    .merge = merge,
    .emit = emit,
};
WEIR_PLUGIN(funnel);
