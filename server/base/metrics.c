/* SPDX-License-Identifier: Apache-2.0
 *
 * The registry behind /metrics. Metrics of one name are a family: they share HELP and
 * TYPE and are printed together, as the text format asks.
 */
#include "base/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct metric {
    struct metric *next;
    const _Atomic uint64_t *value; /* or, if NULL: */
    double (*read)(void *ctx);
    void *ctx;
    const struct histogram *histogram;
    double scale;
    char labels[];
};

struct family {
    struct family *next;
    enum metric_kind kind;
    const char *name, *help;
    struct metric *first, **last;
};

struct metrics {
    pthread_mutex_t
        lock; /* protects the lists; metrics are added while others are read */
    struct family *first, **last;
};

int metrics_new(struct metrics **ret)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    pthread_mutex_init(&m->lock, NULL);
    m->last = &m->first;
    *ret = m;
    return 0;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (struct family *f = m->first, *next_family; f; f = next_family) {
        next_family = f->next;
        for (struct metric *e = f->first, *next; e; e = next) {
            next = e->next;
            free(e);
        }
        free(f);
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* The family of that name, made if it is not there; NULL without memory. With the lock
 * held. */
static struct family *metrics_family(struct metrics *m, enum metric_kind kind,
                                     const char *name, const char *help)
{
    for (struct family *f = m->first; f; f = f->next) {
        if (strcmp(f->name, name) == 0)
            return f;
    }
    struct family *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->kind = kind;
    f->name = name;
    f->help = help;
    f->last = &f->first;
    *m->last = f;
    m->last = &f->next;
    return f;
}

/* Takes `e`. */
static int metrics_insert(struct metrics *m, enum metric_kind kind, const char *name,
                          const char *help, struct metric *e)
{
    if (!e)
        return -ENOMEM;
    pthread_mutex_lock(&m->lock);
    struct family *f = metrics_family(m, kind, name, help);
    if (f) {
        *f->last = e;
        f->last = &e->next;
    }
    pthread_mutex_unlock(&m->lock);
    if (f)
        return 0;
    free(e);
    return -ENOMEM;
}

static struct metric *metric_new(const char *labels)
{
    size_t size = strlen(labels) + 1;
    struct metric *e = calloc(1, sizeof *e + size);
    if (e)
        memcpy(e->labels, labels, size);
    return e;
}

int metrics_add(struct metrics *m, enum metric_kind kind, const char *name,
                const char *help, const char *labels, const _Atomic uint64_t *value,
                double scale)
{
    struct metric *e = metric_new(labels);
    if (e) {
        e->value = value;
        e->scale = scale;
    }
    return metrics_insert(m, kind, name, help, e);
}

int metrics_add_call(struct metrics *m, enum metric_kind kind, const char *name,
                     const char *help, const char *labels, double (*read)(void *ctx),
                     void *ctx)
{
    struct metric *e = metric_new(labels);
    if (e) {
        e->read = read;
        e->ctx = ctx;
    }
    return metrics_insert(m, kind, name, help, e);
}

int metrics_add_histogram(struct metrics *m, const char *name, const char *help,
                          const char *labels, const struct histogram *h)
{
    struct metric *e = metric_new(labels);
    if (e)
        e->histogram = h;
    return metrics_insert(m, METRIC_HISTOGRAM, name, help, e);
}

static void family_remove(struct family *f, uintptr_t first, uintptr_t end)
{
    f->last = &f->first;
    while (*f->last) {
        struct metric *e = *f->last;
        uintptr_t at = e->histogram ? (uintptr_t)e->histogram
                       : e->value   ? (uintptr_t)e->value
                                    : (uintptr_t)e->ctx;
        if (at < first || at >= end) {
            f->last = &e->next;
            continue;
        }
        *f->last = e->next;
        free(e);
    }
}

void metrics_remove(struct metrics *m, const void *base, size_t size)
{
    pthread_mutex_lock(&m->lock);
    for (struct family *f = m->first; f; f = f->next)
        family_remove(f, (uintptr_t)base, (uintptr_t)base + size);
    pthread_mutex_unlock(&m->lock);
}

void metrics_remove_all(struct metrics *m)
{
    metrics_remove(m, NULL, UINTPTR_MAX);
}

/* In HELP a backslash and a line feed are escaped, in a label's value a quote, too. */
static void put_escaped(struct buffer *out, const char *text, bool quote)
{
    for (; *text; text++) {
        if (*text == '\\' || (quote && *text == '"'))
            buffer_putc(out, '\\');
        if (*text == '\n')
            buffer_puts(out, "\\n");
        else
            buffer_putc(out, *text);
    }
}

void metrics_put_label(struct buffer *out, const char *name, const char *value)
{
    if (out->size > 0)
        buffer_putc(out, ',');
    buffer_puts(out, name);
    buffer_puts(out, "=\"");
    put_escaped(out, value, true);
    buffer_putc(out, '"');
}

static void put_double(struct buffer *out, double v)
{
    if (isnan(v))
        buffer_puts(out, "NaN");
    else if (isinf(v))
        buffer_puts(out, v > 0 ? "+Inf" : "-Inf");
    else
        buffer_put_json_double(out, v);
}

const uint32_t histogram_bound_us[HISTOGRAM_BOUNDS] = {
    500,    1000,   2500,   5000,    10000,   25000,   50000,
    100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};

static void put_histogram(struct buffer *out, const struct family *f,
                          const struct metric *e)
{
    const struct histogram *h = e->histogram;
    const char *comma = e->labels[0] ? "," : "", *open = e->labels[0] ? "{" : "",
               *close = e->labels[0] ? "}" : "";
    uint64_t n = 0;
    for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        n += atomic_load_explicit(&h->count[i], memory_order_relaxed);
        buffer_printf(out, "%s_bucket{%s%sle=\"", f->name, e->labels, comma);
        put_double(out, i < HISTOGRAM_BOUNDS ? histogram_bound_us[i] / 1e6 : INFINITY);
        buffer_printf(out, "\"} %" PRIu64 "\n", n);
    }
    buffer_printf(out, "%s_sum%s%s%s ", f->name, open, e->labels, close);
    put_double(out,
               (double)atomic_load_explicit(&h->sum_us, memory_order_relaxed) / 1e6);
    buffer_printf(out, "\n%s_count%s%s%s %" PRIu64 "\n", f->name, open, e->labels,
                  close, n);
}

static void put_metric(struct buffer *out, const struct family *f,
                       const struct metric *e)
{
    if (e->histogram) {
        put_histogram(out, f, e);
        return;
    }
    buffer_puts(out, f->name);
    if (e->labels[0])
        buffer_printf(out, "{%s}", e->labels);
    buffer_putc(out, ' ');
    if (!e->value) {
        put_double(out, e->read(e->ctx));
    } else {
        uint64_t v = atomic_load_explicit(e->value, memory_order_relaxed);
        if (e->scale > 1 || e->scale < 1)
            put_double(out, (double)v * e->scale);
        else
            buffer_printf(out, "%" PRIu64, v);
    }
    buffer_putc(out, '\n');
}

void metrics_print(struct metrics *m, struct buffer *out)
{
    pthread_mutex_lock(&m->lock);
    for (const struct family *f = m->first; f; f = f->next) {
        if (!f->first)
            continue;
        buffer_printf(out, "# HELP %s ", f->name);
        put_escaped(out, f->help, false);
        static const char *const kind[] = {"counter", "gauge", "histogram"};
        buffer_printf(out, "\n# TYPE %s %s\n", f->name, kind[f->kind]);
        for (const struct metric *e = f->first; e; e = e->next)
            put_metric(out, f, e);
    }
    pthread_mutex_unlock(&m->lock);
}
