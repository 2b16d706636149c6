/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/outflow.h"

#include "log/entry.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TIME_NAME "time"
#define FIRST_KEY                                                                      \
    3 /* columns of the stream: time, window_start, window_end, keys, ... */
#define BATCH_ROWS_FEW 64 /* of a piece to begin with, where rows come one by one */

struct mark {
    enum log_kind kind;
    uint64_t number, position;
    unsigned passed; /* workers */
};

struct of_queue {
    struct outflow_piece *first, **last;
};

struct of_worker {
    uint64_t position;
    int64_t done_us;
    struct of_queue queue
        [OUTFLOW_KINDS]; /* each in order; but where results are replaced, all are in one */
    uint64_t marks;      /* that it has passed */
};

struct outflow {
    const struct table *table;
    bool replaces, by_window; /* rows of one border: by window, then key */
    struct schema *schema;
    bool *looked_at; /* its columns, by those who read it; NULL: all */
    struct log *log;
    struct task filler;
    void (*room)(void *ctx);
    void *ctx;

    pthread_mutex_t lock; /* protects the rest; taken once a worker and entry */
    uint64_t sequence;    /* of the next row */
    uint64_t position;    /* the last that the children were told of */
    uint64_t wanted;      /* they are to be told of this one */
    int64_t told_us;
    unsigned workers;
    struct of_worker *worker;
    uint64_t marks; /* that all workers have passed */
    struct mark *mark;
    size_t n_marks, marks_room; /* that only some have */
};

void outflow_free_pieces(struct outflow_piece *list)
{
    while (list) {
        struct outflow_piece *next = list->next;
        batch_unref(list->batch);
        free(list);
        list = next;
    }
}

/* `time`, with underscores behind it if the table has a column of that name. */
static void time_name(const struct table *t, char *name, size_t room)
{
    snprintf(name, room, TIME_NAME);
    for (size_t i = 0; i < t->n_columns && strlen(name) + 2 < room; i++)
        if (!strcasecmp(t->column[i].name, name)) {
            strcat(name, "_");
            i = (size_t)-1;
        }
}

int outflow_columns(const struct table *table, struct schema **ret, struct error *error)
{
    char name[SCHEMA_COLUMNS_MAX + 8];
    struct schema *s = NULL;
    time_name(table, name, sizeof(name));
    int r = schema_new(table->n_columns + 1, name, &s);
    for (size_t i = 0; r == 0 && i < table->n_columns; i++) {
        const struct table_column *c = &table->column[table_shown(table, i)];
        r = schema_set(s, 1 + i, c->name, c->type);
    }
    if (r == -E2BIG)
        error_set(error, r, "table '%s' has more columns than a stream may have: %d",
                  table->name, SCHEMA_COLUMNS_MAX);
    else if (r < 0)
        error_set(error, r, "no memory");
    if (r < 0)
        schema_free(s);
    else
        *ret = s;
    return r;
}

int outflow_new(const struct table *table, unsigned workers, struct outflow **ret,
                struct error *error)
{
    struct outflow *d = calloc(1, sizeof(*d));
    if (!d)
        return error_set(error, -ENOMEM, "no memory");
    pthread_mutex_init(&d->lock, NULL);
    d->table = table;
    d->replaces = table->revision;
    d->by_window = table->window.kind != CONFIG_GLOBAL;
    d->workers = workers;
    d->sequence = 1;
    d->worker = calloc(workers, sizeof(*d->worker));
    int r = d->worker ? outflow_columns(table, &d->schema, error)
                      : error_set(error, -ENOMEM, "no memory");
    if (r < 0) {
        outflow_free(d);
        return r;
    }
    for (unsigned i = 0; i < workers; i++)
        for (size_t k = 0; k < OUTFLOW_KINDS; k++)
            d->worker[i].queue[k].last = &d->worker[i].queue[k].first;
    *ret = d;
    return 0;
}

void outflow_free(struct outflow *d)
{
    if (!d)
        return;
    log_free(d->log);
    task_end(&d->filler);
    for (unsigned i = 0; d->worker && i < d->workers; i++)
        for (size_t k = 0; k < OUTFLOW_KINDS; k++)
            outflow_free_pieces(d->worker[i].queue[k].first);
    pthread_mutex_destroy(&d->lock);
    schema_free(d->schema);
    free(d->looked_at);
    free(d->worker);
    free(d->mark);
    free(d);
}

int outflow_want(struct outflow *d, const bool *wanted)
{
    bool *w = malloc(d->schema->n * sizeof(*w));
    if (!w)
        return -ENOMEM;
    for (size_t i = 0; i < d->schema->n; i++)
        w[i] = wanted[i] || i < FIRST_KEY + d->table->n_keys;
    free(d->looked_at);
    d->looked_at = w;
    return 0;
}

bool outflow_replaces(const struct outflow *d)
{
    return d->replaces;
}

const struct schema *outflow_schema(const struct outflow *d)
{
    return d->schema;
}

const struct table *outflow_table(const struct outflow *d)
{
    return d->table;
}

struct log *outflow_log(const struct outflow *d)
{
    return d->log;
}

static int64_t room_again(void *outflow)
{
    struct outflow *d = outflow;
    d->room(d->ctx);
    return TASK_SLEEPS;
}

int outflow_open(struct outflow *d, struct tasks *tasks, int64_t watermark_us,
                 void (*room)(void *ctx), void *ctx, struct error *error)
{
    const struct log_derived_options options = {.name = d->table->name,
                                                .schema = d->schema,
                                                .back = tasks,
                                                .filler = &d->filler};
    d->room = room;
    d->ctx = ctx;
    d->told_us = watermark_us;
    for (unsigned i = 0; i < d->workers; i++)
        d->worker[i].done_us = watermark_us;
    int r = task_begin(&d->filler, tasks, room_again, d);
    return r < 0 ? error_set(error, r, "no memory")
                 : log_new_derived(&options, &d->log, error);
}

bool outflow_close(struct outflow *d, int64_t deadline_us)
{
    bool whole = !d->log || log_close(d->log, LOG_LEAVE, deadline_us);
    task_end(&d->filler);
    return whole;
}

void outflow_go_on(struct outflow *d, uint64_t sequence)
{
    if (sequence > d->sequence)
        d->sequence = sequence;
}

bool outflow_is_full(struct outflow *d)
{
    return d->log && log_is_full(d->log);
}

int64_t outflow_told(struct outflow *d)
{
    pthread_mutex_lock(&d->lock);
    int64_t us = d->told_us;
    pthread_mutex_unlock(&d->lock);
    return us;
}

/* ---- Cells to columns ----------------------------------------------------------------------------- */

/* Into row n_rows. As the file has it: what is not a number is null. -ENOSPC: no room for more strings. */
static int put_cell(struct batch *b, size_t column, const struct weir_cell *cell)
{
    struct column *c = &b->column[column];
    const uint32_t row = b->n_rows;
    bool null = !cell->type || (cell->type == WEIR_FLOAT && isnan(cell->as.f));
    int r = null ? batch_set_null(b, column) : 0;
    switch (c->type) {
    case WEIR_FLOAT:
        ((double *)c->values)[row] = null ? 0 : cell->as.f;
        break;
    case WEIR_BOOL:
        batch_put_bool(c, row, !null && cell->as.i);
        break;
    case WEIR_INT:
    case WEIR_TIME:
        ((int64_t *)c->values)[row] = null ? 0 : cell->as.i;
        break;
    case WEIR_STRING: {
        size_t size = null ? 0 : cell->size;
        if (r == 0)
            r = batch_bytes(b, column, size);
        if (r == 0 && size)
            memcpy(c->bytes + c->offsets[row], cell->as.s, size);
        if (r == 0)
            c->offsets[row + 1] = c->offsets[row] + (int32_t)size;
        break;
    }
    }
    return r;
}

int outflow_put_row(struct batch *b, const struct table *t, const struct weir_cell *row)
{
    struct weir_cell time = row[t->n_primary];
    time.as.i--;
    int r = batch_grow(b);
    if (r == 0)
        r = put_cell(b, 0, &time);
    for (size_t i = 0; r == 0 && i < t->n_columns; i++)
        if (!b->column[1 + i].absent)
            r = put_cell(b, 1 + i, &row[table_shown(t, i)]);
    if (r == -ENOSPC)
        batch_undo_nulls(b);
    b->n_rows += r == 0;
    return r;
}

static int add_piece(const struct outflow *d, size_t rows, uint64_t position,
                     struct outflow_piece **at)
{
    struct outflow_piece *p = calloc(1, sizeof(*p));
    uint32_t room = rows < BATCH_ROWS_MAX ? (uint32_t)rows : BATCH_ROWS_MAX;
    if (!p || batch_new_of(d->schema, d->looked_at, room, &p->batch) < 0) {
        free(p);
        return -ENOMEM;
    }
    p->position = position;
    p->kind = OUTFLOW_FIRST;
    *at = p;
    return 0;
}

static bool goes_into(const struct outflow_piece *p, enum outflow_kind kind,
                      int64_t border_us, uint64_t position)
{
    return p && p->kind == kind && p->border_us == border_us && p->position == position;
}

int outflow_add(const struct outflow *d, const struct weir_cell *row,
                enum outflow_kind kind, int64_t border_us, uint64_t position,
                struct outflow_piece **list)
{
    struct outflow_piece *found[OUTFLOW_KINDS] = {NULL}, **at = list;
    for (; *at; at = &(*at)->next)
        found[(*at)->kind] = *at;
    struct outflow_piece *p = found[kind];
    if (goes_into(p, kind, border_us, position)) {
        int r = outflow_put_row(p->batch, d->table, row);
        if (r != -ENOSPC)
            return r;
    }
    int r = add_piece(d, BATCH_ROWS_FEW, position, at);
    if (r < 0)
        return r;
    (*at)->kind = kind;
    (*at)->border_us = border_us;
    return outflow_put_row((*at)->batch, d->table, row);
}

/* Results that are replaced: one of no number is the first; one without an end is none any more. */
static int read_replacing(const struct outflow *d, const struct rowset *r,
                          uint64_t position, struct outflow_piece **list)
{
    const struct table *t = r->table;
    int err = 0;
    for (size_t i = 0; err == 0 && i < r->n_rows; i++) {
        const struct weir_cell *row = r->cell + i * t->n_columns;
        if (row[t->n_primary].type && rowset_results(r, i, 1))
            err = outflow_add(d, row,
                              row[t->revision].as.i ? OUTFLOW_NEXT : OUTFLOW_FIRST,
                              row[t->n_primary].as.i, position, list);
    }
    return err;
}

int outflow_read(const struct outflow *d, const struct rowset *r, uint64_t position,
                 struct outflow_piece **list)
{
    struct outflow_piece **at = list, *piece = NULL;
    if (d->replaces)
        return read_replacing(d, r, position, list);
    while (*at)
        at = &(*at)->next;
    for (size_t i = 0; i < r->n_rows;) {
        const struct weir_cell *row = r->cell + i * r->table->n_columns;
        if (!piece) {
            if (add_piece(d, r->n_rows - i, position, at) < 0)
                return -ENOMEM;
            piece = *at;
            at = &piece->next;
        }
        int err = outflow_put_row(piece->batch, r->table, row);
        if (err == -ENOSPC && piece->batch->n_rows) {
            piece = NULL; /* the next one is empty */
            continue;
        }
        if (err < 0)
            return err;
        i++;
    }
    return 0;
}

/* ---- One order ------------------------------------------------------------------------------------ */

static int64_t int_of(const struct batch *b, size_t column, uint32_t row)
{
    const struct column *c = &b->column[column];
    if (c->type == WEIR_BOOL)
        return ((const uint8_t *)c->values)[row >> 3] >> (row & 7) & 1;
    return ((const int64_t *)c->values)[row];
}

static int compare_strings(const struct column *a, uint32_t i, const struct column *b,
                           uint32_t k)
{
    size_t a_size = (size_t)(a->offsets[i + 1] - a->offsets[i]),
           b_size = (size_t)(b->offsets[k + 1] - b->offsets[k]);
    int order = memcmp(a->bytes + a->offsets[i], b->bytes + b->offsets[k],
                       a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

/* Of the rows that two pieces are at: by window end, or border and kind, and key. Those of one group are of one worker. */
static int compare(const struct outflow *d, const struct outflow_piece *a,
                   const struct outflow_piece *b)
{
    const uint32_t i = a->next_row, k = b->next_row;
    const struct batch *x = a->batch, *y = b->batch;
    int64_t p = d->replaces ? a->border_us : int_of(x, 0, i);
    int64_t q = d->replaces ? b->border_us : int_of(y, 0, k);
    int order = (p > q) - (p < q);
    if (!order)
        order = (a->kind > b->kind) - (a->kind < b->kind);
    if (!order && d->replaces && d->by_window) {
        p = int_of(x, 0, i);
        q = int_of(y, 0, k);
        order = (p > q) - (p < q);
    }
    for (size_t c = FIRST_KEY; !order && c < FIRST_KEY + d->table->n_keys; c++) {
        if (x->column[c].type == WEIR_STRING) {
            order = compare_strings(&x->column[c], i, &y->column[c], k);
            continue;
        }
        p = int_of(x, c, i);
        q = int_of(y, c, k);
        order = (p > q) - (p < q);
    }
    return order;
}

static bool is_before(const struct outflow *d, const struct outflow_piece *p,
                      int64_t until_us)
{
    return d->replaces ? p->border_us <= until_us
                       : int_of(p->batch, 0, p->next_row) < until_us;
}

/* Where the row stands that comes next, of those of windows that end at or before `until_us`; NULL: there is none. */
static struct of_queue *next_queue(const struct outflow *d, int64_t until_us)
{
    struct of_queue *best = NULL;
    for (unsigned i = 0; i < d->workers; i++)
        for (size_t k = 0; k < OUTFLOW_KINDS; k++) {
            struct of_queue *q = &d->worker[i].queue[k];
            if (!q->first || !is_before(d, q->first, until_us))
                continue;
            if (!best || compare(d, q->first, best->first) < 0)
                best = q;
        }
    return best;
}

static struct outflow_piece *take_piece(struct of_queue *q)
{
    struct outflow_piece *p = q->first;
    q->first = p->next;
    if (!q->first)
        q->last = &q->first;
    p->next = NULL;
    return p;
}

/* ---- To the log ----------------------------------------------------------------------------------- */

/* Takes the batch. Behind it the children have reached reached_us; INT64_MIN: there is more of that window. */
static int push_batch(struct outflow *d, struct batch *b, uint64_t position,
                      bool retract, int64_t reached_us)
{
    struct log_entry *e;
    if (entry_new(LOG_BATCH, &e) < 0) {
        batch_unref(b);
        return -ENOMEM;
    }
    batch_seal(b);
    e->batch = b;
    e->position = position;
    e->sequence = d->sequence;
    e->held = true;
    e->retract = retract;
    e->reached_us = reached_us;
    d->sequence += b->n_rows;
    if (position > d->position)
        d->position = position;
    log_push(d->log, e);
    return 0;
}

static int push_mark(struct outflow *d, enum log_kind kind, uint64_t number,
                     uint64_t position, int64_t time_us)
{
    struct log_entry *e;
    if (entry_new(kind, &e) < 0)
        return -ENOMEM;
    e->number = number;
    e->position = position;
    e->time_us = time_us;
    log_push(d->log, e);
    return 0;
}

/* Rows of one worker alone are in order, also those of a window that is not wholly given yet. */
static int push_pieces(struct outflow *d, struct of_worker *w)
{
    struct of_queue *q = &w->queue[OUTFLOW_FIRST];
    int r = 0;
    while (r == 0 && q->first) {
        struct outflow_piece *p = take_piece(q);
        r = push_batch(d, p->batch, p->position, false,
                       q->first ? INT64_MIN : w->done_us);
        if (!q->first && w->done_us > d->told_us)
            d->told_us = w->done_us;
        free(p);
    }
    return r;
}

/* Nothing is replaced before this border: those that read it have borders of their own up to there. All that follows from
 * entries before that of the piece has been handed on. */
static int push_before(struct outflow *d, const struct outflow_piece *p)
{
    uint64_t position = p->position ? p->position - 1 : 0;
    return p->border_us - 1 > d->told_us
               ? push_mark(d, LOG_REACHED, 0, position, p->border_us - 1)
               : 0;
}

/* Rows of several queues, in order, into batches of one position each, and of one way to go. What is given out at a border is
 * to be seen by those that read it as of that border, however many are passed at once, and however far they had come before. */
static int merge(struct outflow *d, int64_t until_us)
{
    struct batch *to = NULL;
    uint64_t position = 0;
    int64_t border_us = INT64_MIN;
    bool retract = false;
    struct of_queue *q;
    int r = 0;
    while (r == 0 && (q = next_queue(d, until_us))) {
        struct outflow_piece *p = q->first;
        bool out = p->kind < OUTFLOW_FIRST;
        bool passed = p->border_us > border_us;
        if (to && (p->position != position || out != retract || passed)) {
            r = push_batch(d, to, position, retract, passed ? border_us : INT64_MIN);
            to = NULL;
        }
        if (r == 0 && d->replaces && passed)
            r = push_before(d, p);
        position = p->position;
        border_us = p->border_us;
        retract = out;
        if (r == 0 && !to)
            r = batch_new_of(d->schema, d->looked_at, 0, &to);
        if (r == 0)
            r = batch_append_row(to, p->batch, p->next_row);
        if (r == -ENOSPC && to->n_rows) { /* the row goes into the next one */
            r = push_batch(d, to, position, retract, INT64_MIN);
            to = NULL;
            continue;
        }
        if (r == 0 && ++p->next_row == p->batch->n_rows)
            outflow_free_pieces(take_piece(q));
    }
    if (r < 0) {
        batch_unref(to);
        return r;
    }
    if (!to)
        return 0;
    if (until_us > d->told_us)
        d->told_us = until_us;
    return push_batch(d, to, position, retract, until_us);
}

static int hand_on(struct outflow *d, int64_t border_us)
{
    int64_t until_us = d->worker[0].done_us;
    uint64_t position = d->worker[0].position;
    for (unsigned i = 1; i < d->workers; i++) {
        const struct of_worker *w = &d->worker[i];
        until_us = w->done_us < until_us ? w->done_us : until_us;
        position = w->position < position ? w->position : position;
    }
    int r = d->workers == 1 && !d->replaces ? push_pieces(d, &d->worker[0])
                                            : merge(d, until_us);
    bool wanted = d->wanted > d->position && position >= d->wanted;
    bool border = until_us > d->told_us && until_us >= border_us;
    if (r < 0 || (!wanted && !border))
        return r;
    r = push_mark(d, LOG_REACHED, 0, position, until_us);
    d->told_us = until_us;
    d->position = position;
    return r;
}

int outflow_put(struct outflow *d, const struct outflow_report *r,
                struct outflow_piece *pieces)
{
    pthread_mutex_lock(&d->lock);
    struct of_worker *w = &d->worker[r->worker];
    w->position = r->position;
    w->done_us = r->done_us;
    if (r->tell && r->position > d->wanted)
        d->wanted = r->position;
    while (pieces) {
        struct outflow_piece *p = pieces;
        struct of_queue *q = &w->queue[p->kind];
        pieces = p->next;
        p->next = NULL;
        *q->last = p;
        q->last = &p->next;
    }
    int err = hand_on(d, r->border_us);
    pthread_mutex_unlock(&d->lock);
    return err;
}

static int one_more_mark(struct outflow *d, const struct log_entry *e)
{
    if (d->n_marks == d->marks_room) {
        size_t room = d->marks_room ? 2 * d->marks_room : 4;
        struct mark *mark = realloc(d->mark, room * sizeof(*mark));
        if (!mark)
            return -ENOMEM;
        d->mark = mark;
        d->marks_room = room;
    }
    d->mark[d->n_marks++] =
        (struct mark){.kind = e->kind, .number = e->number, .position = e->position};
    return 0;
}

int outflow_mark(struct outflow *d, unsigned worker, const struct log_entry *e)
{
    pthread_mutex_lock(&d->lock);
    size_t i = (size_t)(d->worker[worker].marks++ - d->marks);
    int r = i == d->n_marks ? one_more_mark(d, e) : 0;
    if (r == 0 &&
        ++d->mark[i].passed == d->workers) { /* i is 0: those before are gone */
        r = push_mark(d, e->kind, e->number, e->position, 0);
        d->marks++;
        memmove(d->mark, d->mark + 1, --d->n_marks * sizeof(*d->mark));
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}
