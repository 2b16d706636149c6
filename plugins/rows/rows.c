/* SPDX-License-Identifier: Apache-2.0
 *
 * rows: the best rows of a group with their columns, by a column or by their time; n = 1 by time is the latest row.
 *
 * A state is a heap with the worst of the kept rows on top, so that most rows cost a comparison. What decides is the value, and of
 * equal ones the place in the log; so states are merged in any order to the same rows.
 */
#include "../common/declare.h"
#include "../common/text.h"

#include <stdlib.h>

struct config {
    const char *by;
    int64_t n;
    int order; /* enum order */
    struct weir_columns columns;
};

enum order { DESC, ASC };
enum reason { NO_VALUE };

/* Lesser ranks are better, of equal ones lesser places. Behind it the columns, one after the other: a byte, 0: null;
 * then eight bytes, or of a string its size in four, and it. */
struct row {
    uint64_t rank, place;
    uint32_t size, room; /* bytes of the columns */
    char bytes[];
};

/* Zero bytes are one without rows. */
struct state {
    struct row **row; /* a heap: none is better than those below it */
    uint32_t n, room;
};

static const struct config *config_of(const struct weir_ctx *ctx)
{
    return ctx->config;
}

static int no_memory(struct weir_ctx *ctx)
{
    return weir_fail(ctx, "no memory for the rows of a group");
}

/* ---- What is better ------------------------------------------------------------------------------ */

static int better(uint64_t rank, uint64_t place, const struct row *than)
{
    return rank != than->rank ? rank < than->rank : place < than->place;
}

/* Numbers of the same order, the least for the best. */
static uint64_t rank_of_int(int64_t v, int order)
{
    uint64_t u = (uint64_t)v ^ (uint64_t)1 << 63;
    return order == ASC ? u : ~u;
}

static uint64_t rank_of_float(double v, int order)
{
    uint64_t u;
    v += 0.0; /* -0 is 0 */
    memcpy(&u, &v, sizeof(u));
    u = u >> 63 ? ~u : u | (uint64_t)1 << 63;
    return order == ASC ? u : ~u;
}

/* Of rows with the same value the first in the log; by time the whole order is turned, so that the latest of one time is the
 * one that came last. False: it has no value. */
static int rank_row(const struct weir_ctx *ctx, const struct weir_rows *r, uint32_t row,
                    uint64_t *ret_rank, uint64_t *ret_place)
{
    const int order = config_of(ctx)->order;
    const struct weir_column *by = r->in[0];
    *ret_place = weir_sequence(r, row);
    if (!by) {
        *ret_rank = rank_of_int(r->time[row], order);
        *ret_place = order == DESC ? ~*ret_place : *ret_place;
        return 1;
    }
    if (weir_is_null(by, row))
        return 0;
    if (by->type != WEIR_FLOAT) {
        *ret_rank = rank_of_int(weir_int(by, row), order);
        return 1;
    }
    double v = weir_number(by, row);
    *ret_rank = rank_of_float(v, order);
    return v == v;
}

/* ---- Columns to bytes and back ------------------------------------------------------------------- */

static const struct weir_column *column_of(const struct weir_ctx *ctx,
                                           const struct weir_rows *r, uint32_t c)
{
    return r->in[config_of(ctx)->columns.first + c];
}

static uint32_t type_of(const struct weir_ctx *ctx, uint32_t c)
{
    return ctx->types[config_of(ctx)->columns.first + c];
}

static size_t size_of(const struct weir_ctx *ctx, const struct weir_rows *r,
                      uint32_t row)
{
    size_t total = 0, size;
    for (uint32_t c = 0; c < config_of(ctx)->columns.n; c++) {
        const struct weir_column *column = column_of(ctx, r, c);
        total++;
        if (weir_is_null(column, row))
            continue;
        size = 8 - sizeof(uint32_t);
        if (column->type == WEIR_STRING)
            weir_string(column, row, &size);
        total += sizeof(uint32_t) + size;
    }
    return total;
}

static void write_row(const struct weir_ctx *ctx, const struct weir_rows *r,
                      uint32_t row, char *at)
{
    for (uint32_t c = 0; c < config_of(ctx)->columns.n; c++) {
        const struct weir_column *column = column_of(ctx, r, c);
        *at = !weir_is_null(column, row);
        if (!*at++)
            continue;
        if (column->type == WEIR_STRING) {
            size_t size;
            const char *text = weir_string(column, row, &size);
            uint32_t n = (uint32_t)size;
            memcpy(at, &n, sizeof(n));
            if (n)
                memcpy(at + sizeof(n), text, n);
            at += sizeof(n) + n;
        } else if (column->type == WEIR_FLOAT) {
            double v = weir_number(column, row);
            memcpy(at, &v, sizeof(v));
            at += sizeof(v);
        } else {
            int64_t v = column->type == WEIR_BOOL ? weir_bool(column, row)
                                                  : weir_int(column, row);
            memcpy(at, &v, sizeof(v));
            at += sizeof(v);
        }
    }
}

static int put_row(struct weir_ctx *ctx, const struct row *row, struct weir_out *out)
{
    const char *at = row->bytes;
    for (uint32_t c = 0; c < config_of(ctx)->columns.n; c++) {
        if (!*at++)
            continue;
        if (type_of(ctx, c) == WEIR_STRING) {
            uint32_t n;
            memcpy(&n, at, sizeof(n));
            weir_put_string(ctx, out, c, at + sizeof(n), n);
            at += sizeof(n) + n;
            continue;
        }
        if (type_of(ctx, c) == WEIR_FLOAT) {
            double v;
            memcpy(&v, at, sizeof(v));
            weir_put_float(ctx, out, c, v);
        } else {
            int64_t v;
            memcpy(&v, at, sizeof(v));
            weir_put_int(ctx, out, c, v);
        }
        at += 8;
    }
    return ctx->host->row(ctx, out);
}

/* Whether saved bytes are the columns of a row. */
static int is_row(const struct weir_ctx *ctx, const char *at, size_t size)
{
    for (uint32_t c = 0; c < config_of(ctx)->columns.n; c++) {
        uint32_t n = 8;
        int64_t v = 0;
        if (!size || (unsigned char)*at > 1)
            return 0;
        size--;
        if (!*at++)
            continue;
        if (type_of(ctx, c) == WEIR_STRING) {
            if (size < sizeof(n))
                return 0;
            memcpy(&n, at, sizeof(n));
            at += sizeof(n), size -= sizeof(n);
            if (n > size || !text_is_utf8(at, n))
                return 0;
        } else if (size < n) {
            return 0;
        } else {
            memcpy(&v, at, sizeof(v));
            if ((type_of(ctx, c) == WEIR_BOOL && (v < 0 || v > 1)) ||
                (type_of(ctx, c) == WEIR_TIME && !time_is_sound(v)))
                return 0;
        }
        at += n, size -= n;
    }
    return size == 0;
}

/* ---- The heap ------------------------------------------------------------------------------------ */

static void sink(struct state *s)
{
    for (uint32_t i = 0, k; (k = 2 * i + 1) < s->n; i = k) {
        if (k + 1 < s->n && better(s->row[k]->rank, s->row[k]->place, s->row[k + 1]))
            k++;
        if (!better(s->row[i]->rank, s->row[i]->place, s->row[k]))
            break;
        struct row *swapped = s->row[i];
        s->row[i] = s->row[k];
        s->row[k] = swapped;
    }
}

static void rise(struct state *s)
{
    for (uint32_t i = s->n - 1, k; i > 0; i = k) {
        k = (i - 1) / 2;
        if (!better(s->row[k]->rank, s->row[k]->place, s->row[i]))
            break;
        struct row *swapped = s->row[i];
        s->row[i] = s->row[k];
        s->row[k] = swapped;
    }
}

static int reserve(struct weir_ctx *ctx, struct state *s)
{
    uint32_t most = (uint32_t)config_of(ctx)->n, room = s->room ? 2 * s->room : 4;
    if (s->n < s->room)
        return 0;
    room = room < most ? room : most;
    struct row **row = ctx->host->alloc(ctx, room * sizeof(*row));
    if (!row)
        return no_memory(ctx);
    if (s->n)
        memcpy(row, s->row, s->n * sizeof(*row));
    ctx->host->free(ctx, s->row);
    s->row = row;
    s->room = room;
    return 0;
}

static int is_wanted(const struct weir_ctx *ctx, const struct state *s, uint64_t rank,
                     uint64_t place)
{
    return s->n < (uint32_t)config_of(ctx)->n || better(rank, place, s->row[0]);
}

/* A place for a row that is wanted, with room for so many bytes: the caller fills them in. If there are n, it is that of the worst, whose memory is used again where it is enough. */
static struct row *place_row(struct weir_ctx *ctx, struct state *s, uint64_t rank,
                             uint64_t place, uint32_t size)
{
    const int full = s->n == (uint32_t)config_of(ctx)->n;
    if (!full && reserve(ctx, s))
        return NULL;
    struct row *row = full ? s->row[0] : NULL;
    if (!row || row->room < size) {
        struct row *fresh = ctx->host->alloc(ctx, sizeof(*row) + size);
        if (!fresh) {
            no_memory(ctx);
            return NULL;
        }
        fresh->room = size;
        ctx->host->free(ctx, row);
        row = fresh;
    }
    row->rank = rank;
    row->place = place;
    row->size = size;
    s->row[full ? 0 : s->n++] = row;
    if (full)
        sink(s);
    else
        rise(s);
    return row;
}

/* ---- Calls --------------------------------------------------------------------------------------- */

static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct weir_rows r = *rows;
    uint64_t skipped = 0;
    for (size_t i = 0; i < r.n; i++) {
        struct state *s = (struct state *)(void *)(r.states + r.group[i] * r.stride);
        uint64_t rank, place;
        if (!rank_row(ctx, &r, r.row[i], &rank, &place)) {
            skipped++;
            continue;
        }
        if (!is_wanted(ctx, s, rank, place))
            continue;
        size_t size = size_of(ctx, &r, r.row[i]);
        if (size > UINT32_MAX / 2)
            return weir_fail(ctx, "a row is larger than 2 GiB");
        struct row *row = place_row(ctx, s, rank, place, (uint32_t)size);
        if (!row)
            return -1;
        write_row(ctx, &r, r.row[i], row->bytes);
    }
    if (skipped)
        ctx->host->skip(ctx, NO_VALUE, skipped);
    return 0;
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *window)
{
    (void)window;
    for (uint32_t i = 0; i < from->n; i++) {
        const struct row *row = from->row[i];
        if (!is_wanted(ctx, into, row->rank, row->place))
            continue;
        struct row *copy = place_row(ctx, into, row->rank, row->place, row->size);
        if (!copy)
            return -1;
        memcpy(copy->bytes, row->bytes, row->size);
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct row *x = *(const struct row *const *)a,
                     *y = *(const struct row *const *)b;
    return better(x->rank, x->place, y) ? -1 : better(y->rank, y->place, x);
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    if (!s->n)
        return 0;
    struct row **list = ctx->host->alloc(ctx, s->n * sizeof(*list));
    if (!list)
        return no_memory(ctx);
    memcpy(list, s->row, s->n * sizeof(*list));
    qsort(list, s->n, sizeof(*list), compare);
    int err = 0;
    for (uint32_t i = 0; !err && i < s->n; i++)
        err = put_row(ctx, list[i], out);
    ctx->host->free(ctx, list);
    return err;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

static void drop(struct weir_ctx *ctx, void *state)
{
    struct state *s = state;
    for (uint32_t i = 0; i < s->n; i++)
        ctx->host->free(ctx, s->row[i]);
    ctx->host->free(ctx, s->row);
    *s = (struct state){0};
}

/* ---- Saving: of each row its head and its columns ------------------------------------------------ */

struct saved {
    uint64_t rank, place, size;
};

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    const struct state *s = state;
    int err = 0;
    for (uint32_t i = 0; !err && i < s->n; i++) {
        const struct row *row = s->row[i];
        const struct saved head = {row->rank, row->place, row->size};
        err = ctx->host->write(ctx, out, &head, sizeof(head));
        if (!err)
            err = ctx->host->write(ctx, out, row->bytes, row->size);
    }
    return err;
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    struct state *s = state;
    const char *at = bytes;
    (void)version; /* there has been one */
    while (size) {
        struct saved head;
        if (size < sizeof(head) || s->n == (uint32_t)config_of(ctx)->n)
            return weir_fail(ctx, "the saved state is damaged");
        memcpy(&head, at, sizeof(head));
        at += sizeof(head), size -= sizeof(head);
        if (head.size > size || head.size > UINT32_MAX / 2 ||
            !is_row(ctx, at, head.size))
            return weir_fail(ctx, "the saved state is damaged");
        struct row *row = place_row(ctx, s, head.rank, head.place, (uint32_t)head.size);
        if (!row)
            return -1;
        memcpy(row->bytes, at, head.size);
        at += head.size, size -= head.size;
    }
    return 0;
}

/* ---- Columns of the result ----------------------------------------------------------------------- */

static int open_rows(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    if (!c->columns.n)
        return weir_fail(ctx, "there is no column that a row could show");
    struct weir_output *output =
        ctx->host->alloc(ctx, (c->columns.n + 1) * sizeof(*output));
    if (!output)
        return no_memory(ctx);
    for (uint32_t i = 0; i < c->columns.n; i++)
        output[i] = (struct weir_output){
            .name = c->columns.name[i], .type = type_of(ctx, i), .help = "as it came"};
    int err = ctx->host->outputs(ctx, output);
    ctx->host->free(ctx, output);
    return err;
}

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, by, 0, WEIR_NUMBERS | WEIR_TYPES(WEIR_TIME),
                 "the column that decides; default: the time of the event"),
    PARAM_INT(struct config, n, "1", 1, 1000, "how many rows, at most"),
    PARAM_CHOICE(struct config, order, "desc", "desc asc",
                 "the largest values first, or the least"),
    {.name = "columns",
     .type = WEIR_PARAM_COLUMNS,
     .flags = WEIR_ALL,
     .offset = offsetof(struct config, columns),
     .help = "columns of the result; default: all but those of the key",
     .column_types = ANY_TYPE},
    PARAM_END,
};

static const struct weir_analyzer rows = {
    .name = "rows",
    .version = "1.0",
    .help = "The best or the latest rows, with their columns",
    .flags = WEIR_MANY_ROWS,
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .reasons = "no_value",
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .open = open_rows,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(rows);
