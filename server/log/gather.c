/* SPDX-License-Identifier: Apache-2.0
 *
 * The gatherer: requests to frames, frames to the journal, tickets, entries to the dispatcher.
 *
 *      intake_take -> frame_add -> [due?] -> frame_commit: journal -> tell -> backlog
 *                                               | no room on the disk: those who wait are told,
 *                                               |                      the rest is kept and tried again
 *                                               | maybe on the disk: tried again; if the end comes first,
 *                                                                    those who wait are told just that
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/logger.h"
#include "log/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TICK_US    50000  /* how often silence is looked for */
#define GATHER_MAX 32768u /* gathered rows that are worth no more waiting */
#define FRAME_BYTES                                                                    \
    ((size_t)8 << 20) /* of batches; more requests wait for the next frame */
#define NO_ROOM_US                                                                     \
    SECOND_US /* requests are refused for so long, then the disk is tried again */
#define RETRY_US       (SECOND_US / 10)
#define COMPANY_US     25 /* least, for requests that will probably come, too */
#define COMPANY_US_MAX 1000
#define COMPANY_ROWS   300 /* are company enough */
#define TURN_US                                                                        \
    10000 /* before other tasks have theirs; the frame at hand is written first */

static_assert(REQUEST_STORED_MAX < JOURNAL_FRAME_MAX, "names and marks fit, too");

static bool is_leaving(const struct log *l)
{
    return atomic_load_explicit(&l->leaving, memory_order_relaxed);
}

/* ---- Frames ----------------------------------------------------------------------------------- */

static int frame_room(struct frame *f, size_t more)
{
    if (f->n + more <= f->room)
        return 0;
    size_t room = 2 * f->room + more + 64;
    struct log_entry **entry = realloc(f->entry, room * sizeof(*entry));
    if (!entry)
        return -ENOMEM;
    f->entry = entry;
    f->room = room;
    return 0;
}

/* A bookmark is behind all rows of its entry: none may come to them that it does not know. */
static bool keeps_bookmark(const struct log_entry *to, const struct log_entry *e)
{
    return !to->bookmark || e->bookmark;
}

/* Small batches of one source are copied together; large ones go on as they are. False: it was copied. */
static bool frame_put_batch(struct frame *f, struct log_entry *e)
{
    struct batch *b = e->batch;
    struct log_entry *last = f->open ? f->entry[f->n - 1] : NULL;
    bool joins = b && b->n_rows < LOG_GATHER_ROWS && !e->whole;
    if (last && last->source == e->source && last->asks == e->asks && joins &&
        last->held == e->held && keeps_bookmark(last, e) &&
        last->batch->schema == b->schema && batch_append(last->batch, b) == 0) {
        if (e->bookmark) {
            free(last->bookmark);
            last->bookmark = e->bookmark;
            e->bookmark = NULL;
        }
        last->mixed = last->mixed || last->origin != e->origin;
        last->origin = last->mixed ? NULL : last->origin;
        last->held_rows += e->held_rows;
        last->held_bytes += e->held_bytes;
        last->held_requests += e->held_requests;
        return false;
    }
    f->entry[f->n++] = e;
    f->open = joins;
    f->due = f->due || !joins;
    return true;
}

/* Room for the rows that will be copied behind those of the frame's last entry: of requests that have been taken. */
static void frame_reserve(const struct log *l)
{
    const struct log_entry *e = l->frame.entry[l->frame.n - 1];
    uint64_t rows = e->batch->n_rows;
    for (const struct intake_item *i = l->later.first;
         i && i->source == e->source && rows < GATHER_MAX; i = i->next)
        rows += i->rows;
    batch_reserve(e->batch, rows < BATCH_ROWS_MAX ? (uint32_t)rows : BATCH_ROWS_MAX);
}

/* The first of those that were taken. False: no memory, it stays there. */
static bool frame_add(struct log *l)
{
    struct frame *f = &l->frame;
    struct intake_item *item = l->later.first;
    if (frame_room(f, item->n) < 0)
        return false;
    if (!f->items)
        f->since_us = clock_monotonic_us();
    l->later.first = item->next;
    item->next = NULL;
    *f->last = item;
    f->last = &item->next;
    f->rows += item->rows;
    f->stored += item->stored;
    f->due = f->due || item->asks || f->rows >= GATHER_MAX;
    f->asking += item->asks;
    for (size_t i = 0; i < item->n; i++) {
        bool goes_on = frame_put_batch(f, item->entry[i]);
        if (goes_on && f->open && i + 1 == item->n)
            frame_reserve(l);
        if (!goes_on && !item->asks) /* what is to be told about goes back with it */
            log_entry_unref(item->entry[i]);
        if (goes_on || !item->asks)
            item->entry[i] = NULL;
    }
    if (f->n) /* of a request without rows: the entry before it */
        item->last = f->n - 1;
    return true;
}

/* As many of those that were taken as the journal can hold in one frame, and as there is memory for. */
static void frame_fill(struct log *l)
{
    struct frame *f = &l->frame;
    struct intake_item *i;
    while ((i = l->later.first) && !f->begun &&
           (!f->items || i->stored <= l->stored_max - f->stored)) {
        if (frame_add(l))
            continue;
        if (!f->items)
            clock_sleep_us(RETRY_US);
        break;
    }
    if (!i)
        l->later.last = &l->later.first;
    f->due = f->due || i;
}

static void frame_clear(struct frame *f)
{
    f->n = 0;
    f->asked = f->asking;
    f->asking = 0;
    f->open = f->due = false;
    f->items = NULL;
    f->last = &f->items;
    f->rows = f->stored = 0;
    f->retry_us = f->company_us = 0;
    f->begun = false;
}

/* ---- To the journal --------------------------------------------------------------------------- */

int gather_begin_segment(void *log, struct journal *j)
{
    struct log *l = log;
    int r = entry_write_schema(j, l->written ? l->written : l->options.schema);
    for (uint32_t i = 1; r == 0 && i < l->sources_written; i++)
        r = entry_write_source(j, i, log_source_name(l, i));
    return r;
}

/* Names that are not in the journal yet come before the first rows of their sources. */
static int encode_sources(struct log *l, uint32_t n_sources)
{
    int r = 0;
    for (uint32_t i = l->sources_written; r == 0 && i < n_sources; i++)
        r = entry_write_source(l->journal, i, log_source_name(l, i));
    return r;
}

/* Keys come before the entries they belong to: when the journal is read again, a checkpoint at an entry
 * finds them known. */
static int encode_keys(struct log *l, int64_t taken_us)
{
    int r = 0;
    for (struct intake_item *i = l->frame.items; r == 0 && i; i = i->next) {
        if (!i->key || !i->n)
            continue;
        i->key->answer.position = l->position + 1 + i->last;
        r = entry_write_request_id(l->journal, i->key, taken_us);
    }
    return r;
}

static int encode(struct log *l, uint32_t n_sources, int64_t taken_us)
{
    struct frame *f = &l->frame;
    int r = encode_sources(l, n_sources);
    if (r == 0)
        r = encode_keys(l, taken_us);
    f->schema = l->written;
    for (size_t i = 0; r == 0 && i < f->n; i++) {
        const struct batch *b = f->entry[i]->batch;
        if (b && b->schema != f->schema) /* the first, or the stream has been changed */
            r = entry_write_schema(l->journal, b->schema);
        f->schema = b ? b->schema : f->schema;
        if (r == 0 && f->entry[i]->bookmark)
            r = entry_write_bookmark(l->journal, f->entry[i]->source,
                                     f->entry[i]->bookmark);
        if (r == 0)
            r = entry_write(l->journal, f->entry[i]);
    }
    return r;
}

/* A frame that may or may not have reached the disk must get there: nobody was told that it has not. -EAGAIN: it
 * has not yet; -EIO: the end came first. */
static int frame_sync(struct log *l)
{
    struct frame *f = &l->frame;
    struct error error = {0};
    uint64_t first;
    int r = journal_commit(l->journal, (uint32_t)f->n, &first, &error);
    if (r == 0 && f->begun)
        logger_info("log", "stream '%s': the journal is being written again", l->name);
    if (r == 0 || r == -ENOSPC || r == -EDQUOT || r == -ENOMEM || r == -ESTALE)
        return r;
    if (!f->begun)
        logger_error("log", "stream '%s': %s; tried again until it succeeds", l->name,
                     error.text);
    f->begun = true;
    return is_leaving(l) ? -EIO : -EAGAIN;
}

/* -ENOSPC, -EDQUOT, -ENOMEM, -ESTALE: it is not on disk. -EIO: nobody knows, and nothing more can be written. -EAGAIN: it is
 * to be written again. */
static int frame_write(struct log *l)
{
    if (!l->journal || l->options.read_only)
        return 0;
    pthread_mutex_lock(&l->names_lock);
    uint32_t n_sources = l->n_sources;
    pthread_mutex_unlock(&l->names_lock);
    if (l->frame.begun)
        n_sources = l->frame.n_sources;
    l->frame.n_sources = n_sources;
    int r = l->frame.begun ? 0 : encode(l, n_sources, clock_unstepped_us());
    int64_t begin_us = clock_monotonic_us();
    if (r == 0)
        r = frame_sync(l);
    l->sync_us = clock_monotonic_us() - begin_us;
    if (r < 0) {
        l->refused_bytes = journal_pending(l->journal);
        if (r != -EIO && r != -EAGAIN)
            journal_abandon(l->journal);
        return r;
    }
    l->written = l->frame.schema;
    l->sources_written = n_sources;
    return 0;
}

/* ---- After the journal ------------------------------------------------------------------------ */

static void tell_all(struct log *l, int64_t now_us)
{
    struct frame *f = &l->frame;
    struct intake_item *i = f->items, *next;
    f->last = &f->items;
    for (; i; i = next) {
        next = i->next;
        uint64_t position = l->position + (i->last == SIZE_MAX ? 0 : 1 + i->last);
        if (i->key && i->n) {
            i->key->answer.position = position;
            idempotency_complete(l->idempotency, i->key, now_us);
        }
        if (intake_tell(l->intake, i, 0, position))
            continue;
        *f->last = i;
        f->last = &i->next;
    }
    *f->last = NULL;
}

/* What pipelines took for silence was a pause: said once for each longer one. */
static void note_return(struct log *l, const struct log_entry *e, int64_t now_us)
{
    const char *name = log_source_name(l, e->source);
    int64_t pause_us;
    pthread_mutex_lock(&l->subscribers_lock);
    for (size_t i = 0; i < l->n_subscribers; i++) {
        struct subscriber *s = l->subscriber[i];
        if (silence_returned(&s->silence, &l->sources, &s->sink, e->source,
                             e->batch->span.min_us, now_us, &pause_us))
            logger_warn(
                "log",
                "pipeline '%s': events of %s%s%s came after a pause of %.1f s, "
                "behind which windows had been closed: idle_timeout is too short "
                "for them; %.1f s are waited for from now on",
                s->sink.pipeline, *name ? "source '" : "producers without a name", name,
                *name ? "'" : "", (double)pause_us / 1e6,
                (double)silence_timeout(&s->silence, &s->sink) / 1e6);
    }
    pthread_mutex_unlock(&l->subscribers_lock);
}

static void frame_hand_on(struct log *l)
{
    struct frame *f = &l->frame;
    int64_t now_us = gather_now(l);
    for (size_t i = 0; i < f->n; i++) {
        struct log_entry *e = f->entry[i];
        e->position = ++l->position;
        if (e->kind == LOG_BATCH &&
            now_us - l->sources.clock[e->source].batch_us >= TICK_US)
            note_return(l, e, now_us);
        if (e->kind == LOG_BATCH)
            sources_heard(&l->sources, e->source, e->batch->span.max_us, now_us);
        if (e->kind == LOG_HEARD)
            sources_there(&l->sources, e->source, now_us);
        backlog_push(&l->backlog, e);
    }
    for (struct intake_item *i = f->items, *next; i; i = next) {
        next = i->next;
        intake_done(i);
    }
    frame_clear(f);
}

/* ---- No room on the disk ---------------------------------------------------------------------- */

/* Takes the entries of those who wait out of the frame; new_index is the number of those left before. */
static void shed_entries(struct log *l, size_t *new_index)
{
    struct frame *f = &l->frame;
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++) {
        new_index[i] = n;
        if (f->entry[i]->asks) {
            intake_release(l->intake, f->entry[i]);
            log_entry_unref(f->entry[i]);
            continue;
        }
        f->entry[n++] = f->entry[i];
    }
    new_index[f->n] = n;
    f->n = n;
    f->open = false;
}

int64_t gather_now(const struct log *l)
{
    return silence_now(&l->silence_clock, clock_monotonic_us());
}

static void hear(void *ctx, uint32_t source)
{
    struct log *l = ctx;
    sources_alive(&l->sources, source, gather_now(l));
}

/* What was reserved for it can be used again, if it was certainly not taken. */
static void refuse_item(struct log *l, struct intake_item *i, int why)
{
    if (i->key && why != -EIO)
        idempotency_abandon(l->idempotency, i->key->key, i->key->size);
    hear(l, i->source);
    if (!intake_tell(l->intake, i, why, 0))
        intake_done(i);
}

/* Tells those who wait that nothing of theirs was taken; the others are kept. */
static void frame_shed(struct log *l, int why)
{
    struct frame *f = &l->frame;
    size_t *new_index = calloc(f->n + 1, sizeof(*new_index));
    if (!new_index)
        return; /* everything is kept, and tried again */
    shed_entries(l, new_index);
    struct intake_item **link = &f->items;
    f->rows = f->stored = 0;
    while (*link) {
        struct intake_item *i = *link;
        if (i->asks && i->n) {
            *link = i->next;
            refuse_item(l, i, why);
            continue;
        }
        size_t before = i->last == SIZE_MAX ? 0 : new_index[i->last + 1];
        i->last = before ? before - 1 : SIZE_MAX;
        f->rows += i->rows;
        f->stored += i->stored;
        link = &i->next;
    }
    f->last = link;
    free(new_index);
}

/* The same of those that are not in the frame. */
static void later_shed(struct log *l, int why)
{
    struct intake_item **link = &l->later.first;
    while (*link) {
        struct intake_item *i = *link;
        if (!i->asks || !i->n) {
            link = &i->next;
            continue;
        }
        *link = i->next;
        for (size_t k = 0; k < i->n; k++)
            intake_release(l->intake, i->entry[k]);
        refuse_item(l, i, why);
    }
    l->later.last = link;
}

static void say_no_room(struct log *l, int why)
{
    struct error error;
    if (why == -ESTALE && journal_check(l->journal, &error) < 0)
        logger_error(
            "log",
            "stream '%s': the journal: %s; requests are refused until it is back, "
            "or the server is started anew",
            l->name, error.text);
    else
        logger_error("log", "stream '%s': %s; requests are refused until there is",
                     l->name,
                     why == -EDQUOT   ? "the journal has reached its limit, no room"
                     : why == -ENOMEM ? "no memory for the journal"
                                      : "the disk has no room for the journal");
}

static void frame_refused(struct log *l, int why)
{
    int64_t now_us = clock_monotonic_us();
    intake_refuse(l->intake, why, now_us + NO_ROOM_US);
    if (!atomic_exchange_explicit(&l->no_room, why, memory_order_relaxed))
        say_no_room(l, why);
    task_wake(&l->dispatcher); /* it may trim */
    l->look_again_us = now_us + NO_ROOM_US;
    frame_shed(l, why);
    later_shed(l, why);
    if (l->frame.n || l->frame.items)
        l->frame.retry_us = now_us + RETRY_US;
    else
        frame_clear(&l->frame);
}

static void room_again(struct log *l)
{
    if (!atomic_exchange_explicit(&l->no_room, 0, memory_order_relaxed))
        return;
    logger_info("log", "stream '%s': the journal can be written again", l->name);
    intake_refuse(l->intake, 0, 0);
}

/* Whoever asks /ready before he sends would never send, and no request would find out. */
static void look_for_room(struct log *l, int64_t now_us)
{
    struct error error;
    if (!atomic_load_explicit(&l->no_room, memory_order_relaxed) || l->frame.n ||
        l->frame.items || now_us < l->look_again_us)
        return;
    l->look_again_us = now_us + NO_ROOM_US;
    if (journal_reserve(l->journal, l->refused_bytes, &error) == 0)
        room_again(l);
}

/* ---- The end, before all is written ----------------------------------------------------------- */

static void frame_drop(struct log *l, int why)
{
    struct frame *f = &l->frame;
    for (size_t i = 0; i < f->n; i++) {
        intake_release(l->intake, f->entry[i]);
        log_entry_unref(f->entry[i]);
    }
    for (struct intake_item *i = f->items, *next; i; i = next) {
        next = i->next;
        refuse_item(l, i, why);
    }
    frame_clear(f);
}

/* The next start finds out. */
static void frame_unknown(struct log *l)
{
    logger_error(
        "log",
        "stream '%s': stopped; whether %llu events that were being written to the "
        "journal are on disk is not known before the next start",
        l->name, (unsigned long long)l->frame.rows);
    frame_drop(l, -EIO);
    l->cut_short = true;
}

/* What could not be written to the end. Its events were not said to be durable. */
static void give_up(struct log *l)
{
    bool closed;
    if (l->frame.begun) { /* the deadline passed between two attempts */
        reach_undo(l);
        frame_unknown(l);
    }
    *l->later.last = intake_take(l->intake, 0, 1, SIZE_MAX, 0, &closed);
    uint64_t rows = l->frame.rows;
    frame_drop(l, -ESHUTDOWN);
    for (struct intake_item *i = l->later.first, *next; i; i = next) {
        next = i->next;
        rows += i->rows;
        for (size_t k = 0; k < i->n; k++)
            intake_release(l->intake, i->entry[k]);
        refuse_item(l, i, -ESHUTDOWN);
    }
    l->later.first = NULL;
    l->later.last = &l->later.first;
    if (rows)
        logger_error("log",
                     "stream '%s': stopped; %llu events that wait for the journal are "
                     "lost, none of them was said to be durable",
                     l->name, (unsigned long long)rows);
}

/* ---- Frames, complete ------------------------------------------------------------------------- */

static void frame_commit(struct log *l)
{
    struct frame *f = &l->frame;
    for (size_t i = 0; i < f->n; i++) {
        struct log_entry *e = f->entry[i];
        if (e->kind != LOG_BATCH)
            continue;
        batch_seal(e->batch);
        intake_shrink(l->intake, e, batch_memory(e->batch));
    }
    f->open = false;
    if (!f->begun)
        reach_frame(l);
    int r = f->n ? frame_write(l) : 0;
    if (r < 0 && r != -EAGAIN)
        reach_undo(l);
    if (r == -EAGAIN)
        f->retry_us = clock_monotonic_us() + RETRY_US;
    else if (r == -EIO)
        frame_unknown(l);
    else if (r < 0)
        frame_refused(l, r);
    if (r < 0)
        return;
    room_again(l);
    reach_written(l);
    tell_all(l, clock_unstepped_us());
    fault_point("log_acked");
    frame_hand_on(l);
}

/* ---- Silence ---------------------------------------------------------------------------------- */

struct marking {
    struct log *log;
    const char *pipeline; /* NULL: all */
};

/* False: no memory, it is not said. */
static bool add_mark(void *ctx, enum log_kind kind, uint32_t source, int64_t time_us)
{
    struct marking *m = ctx;
    struct frame *f = &m->log->frame;
    struct log_entry *e;
    if (entry_mark(kind, m->pipeline, source, time_us, &e) < 0)
        return false;
    if (frame_room(f, 1) < 0) {
        log_entry_unref(e);
        return false;
    }
    f->entry[f->n++] = e;
    f->open = false;
    f->due = true;
    return true;
}

/* A source of which something arrives, whose rows wait for the pipelines, or that waits for us, is not silent. */
static void hear_all(struct log *l)
{
    intake_heard(l->intake, hear, l);
    for (struct intake_item *i = l->frame.items; i; i = i->next)
        hear(l, i->source);
    for (uint32_t i = 0; i < LOG_SOURCES_MAX; i++)
        if (atomic_load_explicit(&l->waits[i], memory_order_relaxed))
            hear(l, i);
    for (uint32_t i = 0; i < LOG_SOURCES_MAX / 64; i++) {
        uint64_t bits =
            atomic_load_explicit(&l->alive[i], memory_order_relaxed)
                ? atomic_exchange_explicit(&l->alive[i], 0, memory_order_relaxed)
                : 0;
        for (; bits; bits &= bits - 1)
            hear(l, 64 * i + (uint32_t)__builtin_ctzll(bits));
    }
    for (uint32_t i = 0; i < LOG_SOURCES_MAX / 64; i++) {
        uint64_t bits = atomic_load_explicit(&l->gone[i], memory_order_relaxed);
        for (; bits; bits &= bits - 1)
            sources_gone(&l->sources, 64 * i + (uint32_t)__builtin_ctzll(bits));
    }
}

static int64_t timeout_of(const struct subscriber *s)
{
    return silence_timeout(&s->silence, &s->sink);
}

/* How long the most patient pipeline waits for a silent source. */
static int64_t patience(const struct log *l)
{
    int64_t most_us = 0;
    for (size_t i = 0; i < l->n_subscribers; i++)
        if (timeout_of(l->subscriber[i]) > most_us)
            most_us = timeout_of(l->subscriber[i]);
    return most_us;
}

/* Connections that are silent for the most patient pipeline hold nothing back. For those less patient it is said, too,
 * how far the others are. */
static void check_origins(struct log *l, int64_t now_us)
{
    origins_look(&l->origins, l->reached_us, now_us);
    int64_t oldest_us = origins_tick(&l->origins, l->reached_us, now_us, patience(l));
    int64_t more_us = reach_more(l);
    struct marking all = {.log = l};
    if (more_us != INT64_MIN)
        add_mark(&all, LOG_REACHED, 0, more_us);
    int64_t of_us = 0, least_us = INT64_MAX; /* for the timeout asked for last */
    for (size_t i = 0; oldest_us != INT64_MAX && i < l->n_subscribers; i++) {
        struct subscriber *s = l->subscriber[i];
        struct marking m = {.log = l, .pipeline = s->sink.pipeline};
        int64_t timeout_us = timeout_of(s);
        if (now_us - oldest_us < timeout_us)
            continue;
        if (of_us != timeout_us)
            least_us = origins_least_of(&l->origins, now_us, timeout_us);
        of_us = timeout_us;
        if (least_us != INT64_MAX && least_us > l->reached_us &&
            least_us > s->silence.reached_us && add_mark(&m, LOG_REACHED, 0, least_us))
            s->silence.reached_us = least_us;
    }
}

/* True: there is nothing more to be said, and will not be before somebody sends. The clock of silence goes on for as
 * long as it may have to tell how long a pause was. */
static bool check_silence(struct log *l, int64_t now_us)
{
    bool over = true;
    hear_all(l);
    pthread_mutex_lock(&l->subscribers_lock);
    check_origins(l, now_us);
    for (size_t i = 0; i < l->n_subscribers; i++) {
        struct subscriber *s = l->subscriber[i];
        struct marking m = {.log = l, .pipeline = s->sink.pipeline};
        /* Also of sources without those names: see log_sink.source_us. */
        silence_check(&s->silence, &l->sources, &s->sink, now_us, add_mark, &m);
        over = over && silence_is_over(&s->silence, &l->sources, &s->sink);
    }
    pthread_mutex_unlock(&l->subscribers_lock);
    return over && !l->origins.n_holding &&
           (l->sources.last_us == INT64_MIN ||
            now_us - l->sources.last_us >= SILENCE_PATIENCE_MAX_US);
}

static void tick(struct log *l, int64_t now_us)
{
    bool over = check_silence(l, silence_step(&l->silence_clock, now_us));
    look_for_room(l, now_us);
    over = over && !atomic_load_explicit(&l->no_room, memory_order_relaxed);
    l->tick_us = over ? INT64_MAX : now_us + TICK_US;
}

void gather_look_again(struct log *l)
{
    atomic_store_explicit(&l->look_again, true, memory_order_release);
    task_wake(&l->gatherer);
}

void log_look(struct log *l)
{
    atomic_thread_fence(memory_order_seq_cst); /* what it looks for was said before */
    if (log_is_ready(
            l)) /* it looks anyway then; until then it may not even have started */
        gather_look_again(l);
}

/* ---- The task --------------------------------------------------------------------------------- */

static bool frame_is_due(const struct log *l, int64_t now_us, bool closed)
{
    const struct frame *f = &l->frame;
    if (!f->n && !f->items)
        return false;
    if (f->retry_us)
        return now_us >= f->retry_us || (f->begun && is_leaving(l));
    return f->due || closed || now_us >= f->since_us + l->options.linger_us;
}

/* When something is to be done though nothing comes in. */
static int64_t frame_until(const struct log *l)
{
    const struct frame *f = &l->frame;
    int64_t until_us = f->retry_us ? f->retry_us
                       : f->due    ? 0
                       : f->items  ? f->since_us + l->options.linger_us
                                   : INT64_MAX;
    return f->retry_us || until_us < l->tick_us ? until_us : l->tick_us;
}

/* What has come, if it is worth it. False: it is not; who puts more will wake us. */
static bool take(struct log *l, bool *ret_closed)
{
    struct frame *f = &l->frame;
    frame_fill(l);
    uint64_t rows_wanted = f->items && f->rows < GATHER_MAX ? GATHER_MAX - f->rows : 0;
    size_t asking_wanted =
        f->asking && f->asking < f->asked ? f->asked - f->asking : 1; /* company */
    struct intake_item *i = intake_take(l->intake, rows_wanted, asking_wanted,
                                        FRAME_BYTES, frame_until(l), ret_closed);
    bool took = i;
    *l->later.last = i;
    for (; i; i = i->next)
        l->later.last = &i->next;
    frame_fill(l);
    return took;
}

static int64_t company_us(const struct log *l)
{
    int64_t us = l->sync_us / 2;
    return us < COMPANY_US ? COMPANY_US : us > COMPANY_US_MAX ? COMPANY_US_MAX : us;
}

/* Those who were told a moment ago send again at nearly the same time: as many as the last time are waited for, but
 * not for half as long as another sync would take. One sync serves them all. Where requests have many rows, their parsing
 * takes as long as the sync, and the two are better done at once. */
static bool waits_for_company(struct log *l, int64_t now_us, bool closed)
{
    struct frame *f = &l->frame;
    if (!f->asking || f->asking >= f->asked || f->retry_us || l->later.first ||
        closed || f->rows >= COMPANY_ROWS)
        return false;
    if (!f->company_us)
        f->company_us = now_us + company_us(l);
    return now_us < f->company_us;
}

/* Everything is done, or given up. */
static int64_t end(struct log *l)
{
    backlog_close(&l->backlog);
    log_ended(l, &l->gathered);
    return TASK_SLEEPS;
}

/* One step. Returns when to make the next one; 0: at once. */
static int64_t gather_step(struct log *l, bool *ret_end)
{
    bool closed, took = take(l, &closed);
    bool look = atomic_exchange_explicit(&l->look_again, false, memory_order_acquire);
    if (look ||
        (took && l->tick_us == INT64_MAX)) /* who has been heard of meanwhile? */
        l->tick_us = 0;
    int64_t now_us = clock_monotonic_us();
    if (now_us >= l->tick_us && !l->frame.retry_us)
        tick(l, now_us);
    if (waits_for_company(l, now_us, closed))
        return took ? 0 : l->frame.company_us;
    bool due = frame_is_due(l, now_us, closed);
    if (due)
        frame_commit(l);
    bool empty = !l->frame.n && !l->frame.items && !l->later.first;
    *ret_end = closed && empty;
    if (l->cut_short || (closed && !empty && is_leaving(l))) {
        give_up(l);
        *ret_end = true;
    }
    return took || (due && !l->frame.retry_us) ? 0 : frame_until(l);
}

static int64_t gather(struct log *l)
{
    int64_t until_us = clock_monotonic_us() + TURN_US;
    while (clock_monotonic_us() < until_us) {
        bool ended = false;
        int64_t again_us = gather_step(l, &ended);
        if (ended)
            return end(l);
        if (again_us > clock_monotonic_us())
            return again_us;
    }
    return TASK_AGAIN;
}

static void fail(struct log *l, const struct error *error)
{
    l->error = *error;
    atomic_store_explicit(&l->failed, true, memory_order_release);
    logger_error("log", "stream '%s' takes nothing: %s", l->name, error->text);
    intake_close(l->intake); /* nobody waits for room that never comes */
}

void gather_ready(struct log *l)
{
    /* Nobody could send until now. */
    silence_step(&l->silence_clock, clock_monotonic_us());
    if (l->sources.max_us > l->begun_us)
        l->begun_us = l->sources.max_us;
    for (uint32_t i = 0; i < l->sources.n; i++)
        if (l->sources.clock[i].seen)
            hear(l, i);
    atomic_store_explicit(&l->ready, true, memory_order_release);
    intake_open(l->intake);
    gather_look_again(l);
}

/* What the journal has comes first. */
static int64_t replay(struct log *l)
{
    struct error error = {0};
    int r = l->replay ? 0 : replay_begin(l, &error);
    if (r == 0)
        r = replay_go_on(l, &error);
    if (r > 0)
        return backlog_is_full(&l->backlog) ? TASK_SLEEPS : TASK_AGAIN;
    replay_end(l, r == 0);
    if (r < 0 && r != -ESHUTDOWN)
        fail(l, &error);
    if (r < 0)
        return end(l);
    gather_ready(l);
    return TASK_AGAIN;
}

int64_t gather_run(void *log)
{
    struct log *l = log;
    if (l->gathered)
        return TASK_SLEEPS;
    return log_is_ready(l) ? gather(l) : replay(l);
}
