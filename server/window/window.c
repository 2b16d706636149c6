/* SPDX-License-Identifier: Apache-2.0
 *
 * Ids of windows of one pane are their start. Where there are panes, a watermark is done with a window at its end
 * and with a pane at the end of the last window that has it; of what is done at one time, windows come first, and no
 * two have one id:
 *
 *      hopping   window [end - size, end)       end
 *                pane [start, start + pane)     start + size + 1
 *
 *      cascade   window of size i               end + i
 *                pane of size i, the n-th in    end + WINDOW_SIZES + n * WINDOW_SIZES + i
 *                one of size i + 1, which ends at `end`
 *
 * All these lie between one end of windows and the next: sizes in microseconds are large numbers
 * (config/window_section.c).
 */
#include "window/window.h"

#include "base/clock.h"

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Of windows by key, those that divide time do so for `global`. Where there are none each microsecond is one: none is open. */
static struct window_kind kind_by_key(const struct config_window *c)
{
    int64_t size_us = c->size_us ? c->size_us : 1;
    return (struct window_kind){
        .kind = c->kind,
        .size_us = size_us,
        .pane_us = size_us,
        .max_us = c->kind == CONFIG_SESSION ? c->max_us : INT64_MAX,
        .expire_us = c->kind == CONFIG_GLOBAL || c->kind == CONFIG_COUNT ? c->expire_us
                                                                         : INT64_MAX,
        .rows = c->rows,
        .by_rows = c->by_rows,
        .pane_rows = (uint64_t)common_divisor((int64_t)c->rows, (int64_t)c->by_rows),
        .running = c->running,
        .column = c->column};
}

static struct window_kind hopping(int64_t size_us, int64_t by_us, int64_t offset_us)
{
    int64_t pane_us = common_divisor(size_us, by_us);
    return (struct window_kind){.size_us = size_us,
                                .pane_us = pane_us,
                                .offset_us = offset_us % pane_us,
                                .id_us = size_us + 1,
                                .by_us = by_us,
                                .begin_us = offset_us % by_us,
                                .ends_us = by_us,
                                .end_us = (offset_us + size_us) % by_us};
}

static struct window_kind cascade(const struct config_window *c)
{
    int64_t longest_us = c->coarse_us[c->n_coarse - 1];
    struct window_kind k = {.size_us = longest_us,
                            .pane_us = c->size_us,
                            .offset_us = c->offset_us % c->size_us,
                            .by_us = longest_us,
                            .begin_us = c->offset_us % longest_us,
                            .ends_us = c->size_us,
                            .end_us = c->offset_us % c->size_us,
                            .n_sizes = 1 + c->n_coarse};
    k.sizes_us[0] = c->size_us;
    for (size_t i = 0; i < c->n_coarse; i++)
        k.sizes_us[1 + i] = c->coarse_us[i];
    return k;
}

static struct window_kind tumbling(int64_t size_us, int64_t offset_us)
{
    return (struct window_kind){
        .size_us = size_us, .pane_us = size_us, .offset_us = offset_us % size_us};
}

struct window_kind window_kind(const struct config_window *c,
                               const struct calendar *calendar)
{
    if (calendar) /* of one pane or several, however long */
        return (struct window_kind){.size_us = DAY_US * (c->n_coarse ? 2 : 1),
                                    .pane_us = DAY_US,
                                    .calendar = calendar,
                                    .n_sizes = c->n_coarse ? 1 + c->n_coarse : 0};
    const struct window_kind by_key = kind_by_key(c);
    if (window_is_by_key(&by_key) || c->kind == CONFIG_NONE)
        return by_key;
    if (c->kind == CONFIG_HOPPING && c->by_us != c->size_us)
        return hopping(c->size_us, c->by_us, c->offset_us);
    return c->n_coarse ? cascade(c) : tumbling(c->size_us, c->offset_us);
}

/* How far `us` is behind the last multiple of step plus offset. */
static int64_t behind(int64_t us, int64_t step_us, int64_t offset_us)
{
    int64_t into_us = us % step_us - offset_us % step_us; /* above -2 * step */
    into_us += into_us < 0 ? step_us : 0;
    return into_us + (into_us < 0 ? step_us : 0);
}

/* That multiple; cut where time begins. */
static int64_t floor_us(int64_t us, int64_t step_us, int64_t offset_us)
{
    int64_t floor;
    return __builtin_sub_overflow(us, behind(us, step_us, offset_us), &floor)
               ? INT64_MIN
               : floor;
}

static int64_t plus(int64_t us, int64_t more_us)
{
    int64_t sum;
    return !__builtin_add_overflow(us, more_us, &sum) ? sum
           : more_us < 0                              ? INT64_MIN
                                                      : INT64_MAX;
}

struct window window_by_calendar(const struct window_kind *k, int64_t us)
{
    struct window w;
    calendar_span(k->calendar, k->size, us, &w.start_us, &w.end_us);
    w.id = k->n_sizes ? window_pane_id(k, w.start_us) : w.start_us;
    return w;
}

/* ---- Ids ----------------------------------------------------------------------------------------- */

/* Of a cascade, where of size i a time lies: without the id. */
static struct window span_of(const struct window_kind *k, size_t i, int64_t us)
{
    struct window w = {0};
    if (k->calendar) {
        calendar_span(k->calendar, i, us, &w.start_us, &w.end_us);
    } else {
        w.start_us = floor_us(us, k->sizes_us[i], k->begin_us);
        w.end_us = plus(us, k->sizes_us[i] - behind(us, k->sizes_us[i], k->begin_us));
    }
    return w;
}

/* Of a pane of size i. */
static int64_t cascade_pane_id(const struct window_kind *k, size_t i, int64_t start_us)
{
    struct window longer = span_of(k, i + 1, start_us);
    int64_t place = k->calendar ? calendar_place(k->calendar, i, start_us)
                                : (start_us - longer.start_us) / k->sizes_us[i];
    return plus(longer.end_us, (1 + place) * WINDOW_SIZES + (int64_t)i);
}

int64_t window_pane_id(const struct window_kind *k, int64_t start_us)
{
    return k->n_sizes ? cascade_pane_id(k, 0, start_us) : plus(start_us, k->id_us);
}

/* How far an id lies behind an end of windows: that of a window by less than this. */
static int64_t behind_end(const struct window_kind *k, int64_t id)
{
    return k->calendar ? (int64_t)((uint64_t)id - (uint64_t)span_of(k, 0, id).start_us)
                       : behind(id, k->ends_us, k->end_us);
}

bool window_is_pane(const struct window_kind *k, int64_t id)
{
    if (!window_has_panes(k))
        return false;
    return k->n_sizes ? behind_end(k, id) >= WINDOW_SIZES : behind_end(k, id) != 0;
}

size_t window_size_of(const struct window_kind *k, int64_t id)
{
    return k->n_sizes ? (size_t)behind_end(k, id) % WINDOW_SIZES : 0;
}

static struct window cascade_by_id(const struct window_kind *k, int64_t id)
{
    size_t i = window_size_of(k, id);
    int64_t end_us = plus(id, -behind_end(k, id));
    int64_t n = behind_end(k, id) / WINDOW_SIZES - 1; /* -1: no pane */
    struct window w = {.id = id, .end_us = end_us};
    if (k->calendar) {
        if (n >= 0)
            calendar_by_place(k->calendar, i, end_us, n, &w.start_us, &w.end_us);
        else
            w.start_us = span_of(k, i, plus(end_us, -1)).start_us;
        return w;
    }
    if (n >= 0)
        w.end_us = plus(end_us, (n + 1) * k->sizes_us[i] - k->sizes_us[i + 1]);
    w.start_us = plus(w.end_us, -k->sizes_us[i]);
    return w;
}

struct window window_by_id(const struct window_kind *k, int64_t id)
{
    if (k->n_sizes)
        return cascade_by_id(k, id);
    if (!window_has_panes(k) || window_is_pane(k, id))
        return window_of(k, plus(id, -k->id_us));
    return (struct window){.id = id, .end_us = id, .start_us = plus(id, -k->size_us)};
}

static bool calendar_has_id(const struct window_kind *k, int64_t id)
{
    static const int64_t year_us = 366 * DAY_US;
    if (id < INT64_MIN + 2 * year_us || id > INT64_MAX - 2 * year_us)
        return false;
    const bool pane = window_is_pane(k, id);
    const size_t i = window_size_of(k, id);
    if (i >= k->n_sizes - pane)
        return false;
    struct window w = window_by_id(k, id), is = span_of(k, i, w.start_us);
    return is.start_us == w.start_us && is.end_us == w.end_us &&
           (pane ? cascade_pane_id(k, i, w.start_us) : plus(w.end_us, (int64_t)i)) ==
               id;
}

bool window_has_id(const struct window_kind *k, int64_t id)
{
    /* The ends of time cut some short, and others have no room for an id. */
    int64_t least_us = INT64_MIN + 2 * k->size_us, most_us = INT64_MAX - 2 * k->size_us;
    if (k->calendar && k->n_sizes)
        return calendar_has_id(k, id);
    if (k->calendar) {
        struct window w = window_of(k, id);
        return w.start_us > INT64_MIN && w.end_us < INT64_MAX;
    }
    if (!window_has_panes(k)) {
        struct window w = window_of(k, id);
        return w.id == id &&
               (uint64_t)w.end_us - (uint64_t)w.start_us == (uint64_t)k->pane_us;
    }
    if (id < least_us || id > most_us)
        return false;
    bool pane = window_is_pane(k, id);
    size_t i = window_size_of(k, id);
    if (k->n_sizes && i >= k->n_sizes - pane)
        return false;
    struct window w = window_by_id(k, id);
    if (!k->n_sizes)
        return !pane || w.id == id;
    return behind(w.start_us, k->sizes_us[i], k->begin_us) == 0 &&
           (!pane || cascade_pane_id(k, i, w.start_us) == id);
}

int64_t window_id_now(const struct window_kind *k, int64_t id)
{
    return k->calendar && !k->n_sizes ? window_of(k, plus(id, DAY_US / 2)).id : id;
}

/* ---- Borders ------------------------------------------------------------------------------------- */

struct window window_last(const struct window_kind *k, int64_t us)
{
    if (!window_has_panes(k))
        return window_of(k, us);
    if (k->calendar) {
        struct window w = span_of(k, k->n_sizes - 1, us);
        w.id = plus(w.end_us, (int64_t)k->n_sizes - 1);
        return w;
    }
    int64_t end_us = plus(us, k->size_us - behind(us, k->by_us, k->begin_us));
    return (struct window){.id = plus(end_us, k->n_sizes ? (int64_t)k->n_sizes - 1 : 0),
                           .start_us = plus(end_us, -k->size_us),
                           .end_us = end_us};
}

int64_t window_next_border(const struct window_kind *k, int64_t us)
{
    if (!window_has_panes(k))
        return window_of(k, us).end_us;
    if (k->calendar)
        return span_of(k, 0, us).end_us;
    return plus(us, k->ends_us - behind(us, k->ends_us, k->end_us));
}

int64_t window_first_open(const struct window_kind *k, int64_t us)
{
    return window_has_panes(k) ? window_next_border(k, us) : window_of(k, us).start_us;
}

/* ---- Panes --------------------------------------------------------------------------------------- */

size_t window_ending(const struct window_kind *k, int64_t border_us,
                     struct window_merge ret[WINDOW_SIZES])
{
    if (!k->calendar && behind(border_us, k->ends_us, k->end_us))
        return 0;
    if (!k->n_sizes) {
        ret[0] = (struct window_merge){.window = window_by_id(k, border_us),
                                       .first = plus(border_us, 1),
                                       .last = plus(border_us, k->id_us - k->pane_us),
                                       .step = k->pane_us,
                                       .pane = INT64_MAX};
        return 1;
    }
    size_t n = 0;
    for (; n < k->n_sizes; n++) {
        size_t of = n ? n - 1 : 0; /* the shortest have one pane */
        struct window w = span_of(k, n, plus(border_us, -1));
        if (w.end_us != border_us)
            break;
        w.id = plus(border_us, (int64_t)n);
        int64_t last_us = span_of(k, of, plus(border_us, -1)).start_us;
        ret[n] = (struct window_merge){
            .window = w,
            .first = cascade_pane_id(k, of, w.start_us),
            .last = cascade_pane_id(k, of, last_us),
            .step = WINDOW_SIZES,
            .pane = n + 1 < k->n_sizes ? cascade_pane_id(k, n, w.start_us) : INT64_MAX};
    }
    return n;
}

bool window_around(const struct window_kind *k, int64_t us, size_t i,
                   struct window *ret)
{
    if (!window_has_panes(k)) {
        *ret = window_of(k, us);
        return i == 0;
    }
    if (k->n_sizes) {
        if (i >= k->n_sizes)
            return false;
        *ret = span_of(k, i, us);
        ret->id = plus(ret->end_us, (int64_t)i);
        return true;
    }
    int64_t end_us = plus(window_next_border(k, us), (int64_t)i * k->by_us);
    *ret = window_by_id(k, end_us);
    return end_us <= window_last_end(k, us);
}

bool window_open_pane(const struct window_kind *k, int64_t us, int64_t watermark_us,
                      int64_t *ret_id)
{
    if (window_last_end(k, us) <= watermark_us)
        return false;
    if (!k->n_sizes) {
        *ret_id = window_of(k, us).id;
        return true;
    }
    size_t i = 0; /* the shortest of which a window is to come */
    while (span_of(k, i + 1, us).end_us <= watermark_us)
        i++;
    *ret_id = cascade_pane_id(k, i, span_of(k, i, us).start_us);
    return true;
}

int64_t window_next_end_of(const struct window_kind *k, int64_t pane, int64_t us)
{
    struct window w = window_by_id(k, pane), first;
    if (k->n_sizes)
        return window_size_of(k, pane) == 0 && w.end_us > us
                   ? w.end_us
                   : plus(pane, -behind_end(k, pane));
    int64_t next_us = window_next_border(k, us);
    window_around(k, w.start_us, 0, &first);
    return first.end_us > next_us ? first.end_us : next_us;
}

/* ---- Tables, definitions ------------------------------------------------------------------------- */

struct window_kind window_kind_of_size(const struct window_kind *k, size_t size)
{
    if (k->calendar && k->n_sizes)
        return (struct window_kind){.size_us = DAY_US,
                                    .pane_us = DAY_US,
                                    .calendar = k->calendar,
                                    .size = size};
    return k->n_sizes ? tumbling(k->sizes_us[size], k->begin_us) : *k;
}

int64_t window_fixed_size(const struct window_kind *k)
{
    return k->calendar || window_is_by_key(k) || k->kind == CONFIG_NONE ? 0
                                                                        : k->size_us;
}

/* A kind by its word: pipeline/checkpoint_form.c knows by that that spans are stored. */
static void define_by_key(const struct window_kind *k, struct buffer *b)
{
    buffer_printf(b, "window %s", config_window_word[k->kind]);
    if (k->kind == CONFIG_COUNT)
        buffer_printf(b, " %llu %llu", (unsigned long long)k->rows,
                      (unsigned long long)k->by_rows);
    if (k->running)
        buffer_printf(b, " running");
    if (k->kind == CONFIG_SESSION || k->kind == CONFIG_GLOBAL)
        buffer_printf(b, " %lld", (long long)k->size_us);
    if (k->max_us != INT64_MAX)
        buffer_printf(b, " max %lld", (long long)k->max_us);
    if (k->expire_us != INT64_MAX)
        buffer_printf(b, " expire %lld", (long long)k->expire_us);
    buffer_putc(b, '\n');
}

void window_define(const struct window_kind *k, struct buffer *b)
{
    if (k->calendar) {
        calendar_define(k->calendar, b);
        return;
    }
    if (window_is_by_key(k) || k->kind == CONFIG_NONE) {
        define_by_key(k, b);
        return;
    }
    bool tumbling = !window_has_panes(k);
    buffer_printf(b, "window %lld %lld", (long long)k->size_us,
                  (long long)(tumbling ? k->offset_us : k->begin_us));
    if (k->n_sizes)
        for (size_t i = 0; i + 1 < k->n_sizes; i++)
            buffer_printf(b, "%s%lld", i ? "," : " of ", (long long)k->sizes_us[i]);
    else if (!tumbling)
        buffer_printf(b, " by %lld", (long long)k->by_us);
    buffer_putc(b, '\n');
}
