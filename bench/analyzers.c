/* SPDX-License-Identifier: Apache-2.0
 *
 * analyzers [NAME...]: what each analyzer that ships costs, alone, over 1,000 groups: nanoseconds for a row folded in
 * and for a group given out, bytes of a group at the end. A line for each: name, parameters, ns, ns, bytes,
 * separated by tabs. For bench/run. Without those that take all rows at once (sql, python_window), and python, which have
 * no states of bytes: other parts of the benchmark measure them.
 *
 * 2,000,000 rows come as the server hands them on: calls of 1,024 rows of a batch of 65,536, groups by chance, times
 * rising but for every tenth row, which is up to a second late. Nanoseconds are those of the thread's processor time in
 * the median batch.
 */
#include "../tests/unit/plugins/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GROUPS  1000
#define BATCH   65536
#define BATCHES 31
#define CALL    1024
#define WORDS   100

struct subject {
    const char *plugin;
    const char *set[4][2];
};

/* Strings are one of 100 words, ints below 1000, floats prices. */
static const struct subject subjects[] = {
    {"count", {{0}}},
    {"sum", {{"of", "x:f"}}},
    {"stats", {{"of", "x:f"}}},
    {"moments", {{"of", "x:f"}}},
    {"covariance", {{"x", "x:f"}, {"y", "y:i"}}},
    {"histogram", {{"of", "x:f"}}},
    {"quantiles", {{"of", "x:f"}, {"q", "0.5 0.99"}}},
    {"distinct", {{"of", "x:s"}}},
    {"distinct", {{"of", "x:i"}}},
    {"topk", {{"of", "x:s"}}},
    {"topk", {{"of", "x:i"}}},
    {"first", {{"of", "x:f"}}},
    {"last", {{"of", "x:s"}}},
    {"rate", {{"of", "x:i"}}},
    {"delta", {{"of", "x:f"}}},
    {"time_weighted", {{"of", "x:f"}}},
    {"ewma", {{"of", "x:f"}}},
    {"change", {{"of", "x:s"}}},
    {"gap", {{0}}},
    {"threshold", {{"of", "x:f"}, {"limit", "100"}}},
    {"sessions", {{0}}},
    {"holt_winters", {{"of", "x:f"}, {"every", "1s"}, {"season", "60"}}},
    {"anomaly", {{"of", "x:f"}}},
    {"ohlc", {{"of", "x:f"}}},
    {"vwap", {{"price", "x:f"}, {"volume", "y:i"}}},
    {"twap", {{"price", "x:f"}}},
    {"volatility", {{"price", "x:f"}}},
    {"drawdown", {{"of", "x:f"}}},
    {"mode", {{"of", "x:s"}}},
    {"entropy", {{"of", "x:s"}}},
    {"mad", {{"of", "x:f"}}},
    {"sample", {{"of", "x:s"}}},
    {"collect", {{"of", "x:f"}}},
    {"funnel", {{"step", "x:s"}, {"by", "y:i"}, {"steps", "venue-1 > venue-2"}}},
    {"retention", {{"by", "x:i"}, {"period", "1m"}}},
    {"trending", {{"of", "x:s"}}},
    {"path", {{"of", "x:s"}, {"by", "y:i"}}},
    {"imbalance", {{"volume", "x:f"}, {"side", "y:b"}}},
    {"holt_winters",
     {{"of", "x:f"}, {"every", "10s"}, {"season", "12"}, {"fit", "true"}}},
    {"rows", {{"by", "x:f"}, {"n", "3"}, {"columns", "y:s"}}},
};

static uint64_t dice_state = 88172645463325252u;

/* Marsaglia, "Xorshift RNGs", 2003. */
static uint32_t dice(uint32_t below)
{
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 7;
    dice_state ^= dice_state << 17;
    return (uint32_t)((dice_state >> 32) * below >> 32);
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fill_column(struct host_table *t, uint32_t type, size_t k)
{
    char text[16];
    for (size_t row = 0; row < BATCH; row++)
        if (type == WEIR_FLOAT)
            ((double *)t->values[k])[row] = 50 + dice(10000) / 100.0;
        else if (type == WEIR_BOOL)
            host_put_bool(t, k, row, dice(2));
        else if (type == WEIR_STRING)
            host_put_text(
                t, k, row, text,
                (size_t)snprintf(text, sizeof(text), "venue-%u", dice(WORDS)));
        else
            ((int64_t *)t->values[k])[row] = dice(1000);
}

static void fill(struct host *h, struct host_table *t, size_t batch, uint32_t *group)
{
    for (size_t row = 0; row < BATCH; row++) {
        group[row] = dice(GROUPS);
        t->time[row] = (int64_t)(batch * BATCH + row) * 1000 -
                       (row % 10 == 0 ? (int64_t)dice(1000000) : 0);
    }
    t->sequence = (batch + 1) << 16;
    for (size_t k = 0; k < h->n_inputs; k++)
        fill_column(t, h->types[k], k);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double fold(struct host *h, struct host_table *t, char *states, size_t stride)
{
    static uint32_t rows[BATCH], group[BATCH];
    static double ns[BATCHES];
    for (uint32_t i = 0; i < BATCH; i++)
        rows[i] = i;
    for (size_t batch = 0; batch < BATCHES; batch++) {
        fill(h, t, batch, group);
        double began = now_ns();
        for (size_t at = 0; at < BATCH; at += CALL)
            if (host_update(h, t, rows + at, group + at, CALL, states, stride)) {
                fprintf(stderr, "%s: %s\n", h->analyzer->name, h->error);
                exit(1);
            }
        ns[batch] = now_ns() - began;
    }
    qsort(ns, BATCHES, sizeof(*ns), compare);
    return ns[BATCHES / 2] / BATCH;
}

static double emit(struct host *h, const char *states, size_t stride)
{
    static const void *state[GROUPS];
    static char *text[GROUPS];
    for (size_t g = 0; g < GROUPS; g++)
        state[g] = states + g * stride;
    double began = now_ns();
    if (!host_emit_many(h, state, GROUPS, text))
        exit(1);
    double ns = (now_ns() - began) / GROUPS;
    for (size_t g = 0; g < GROUPS; g++)
        free(text[g]);
    return ns;
}

static void measure(const struct subject *s)
{
    static struct host h;
    char path[256];
    snprintf(path, sizeof(path), "plugins/%s.so", s->plugin);
    host_load(&h, path);
    for (size_t i = 0; i < 4 && s->set[i][0]; i++)
        host_set(&h, s->set[i][0], s->set[i][1]);
    if (host_open(&h)) {
        fprintf(stderr, "%s: %s\n", s->plugin, h.error);
        exit(1);
    }
    struct host_table *t = host_table_new(&h, BATCH, BATCH * 16);
    size_t stride = (h.analyzer->state_size + 15) / 16 * 16, before = h.bytes;
    char *states = aligned_alloc(64, (GROUPS * stride + 63) / 64 * 64);
    memset(states, 0, GROUPS * stride);
    for (size_t g = 0; g < GROUPS; g++)
        host_init(&h, states + g * stride);
    double row_ns = fold(&h, t, states, stride);
    size_t bytes = h.bytes - before + GROUPS * stride;
    double group_ns = emit(&h, states, stride);
    printf("%s\t", s->plugin);
    for (size_t i = 0; i < 4 && s->set[i][0]; i++)
        printf("%s%s: %s", i ? ", " : "", s->set[i][0], s->set[i][1]);
    printf("\t%.1f\t%.0f\t%.0f\n", row_ns, group_ns, (double)bytes / GROUPS);
    fflush(stdout);
    for (size_t g = 0; g < GROUPS && h.analyzer->drop; g++)
        h.analyzer->drop(&h.ctx, states + g * stride);
    free(states);
    host_close(&h);
    host_table_free(t);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof(subjects) / sizeof(*subjects); i++) {
        int chosen = argc < 2;
        for (int k = 1; k < argc; k++)
            chosen |= strcmp(argv[k], subjects[i].plugin) == 0;
        if (chosen)
            measure(&subjects[i]);
    }
    return 0;
}
