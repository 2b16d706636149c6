/* SPDX-License-Identifier: Apache-2.0 */
#include "laws/special.h"

#include "laws/dice.h"
#include "laws/settings.h"

#include <malloc.h>
#include <pthread.h>

#define MANY_GROUPS   10000u
#define MANY_AT_ONCE  256u
#define REFUSALS      12u
#define DAMAGED       60u
#define LEAK_WARM     3
#define LEAK_RUNS     40 /* it has to grow in each: malloc keeps some of what is freed */
#define THREAD_RUNS   10
#define SETTINGS_ROOM 16384u

double special_group_bytes;

static const struct law *law_named(const char *name)
{
    for (size_t i = 0; i < n_laws; i++)
        if (!strcmp(laws[i].name, name))
            return &laws[i];
    return NULL;
}

/* ---- The process ------------------------------------------------------------------------------- */

/* All functions of the plugin are called at least once. */
enum run_verdict special_process(const struct binding *b, const struct rows *rows,
                                 uint64_t seed, struct run_report *report)
{
    static char before[SETTINGS_ROOM], after[SETTINGS_ROOM];
    static const char *const names[] = {"split", "emit", "save", "merge", "retract"};
    const struct weir_analyzer *a = &b->plugin->analyzer;
    enum run_verdict v = RUN_HOLDS;
    settings_text(before, sizeof(before));
    for (size_t i = 0; v == RUN_HOLDS && i < sizeof(names) / sizeof(*names); i++) {
        const struct law *law = law_named(names[i]);
        if ((law->needs & LAW_MERGE && !a->merge) ||
            (law->needs & LAW_RETRACT && !a->retract))
            continue;
        v = run_law(b, law, rows, false, false, seed, report);
    }
    settings_text(after, sizeof(after));
    char text[256];
    if (v != RUN_HOLDS || !settings_differ(before, after, text, sizeof(text)))
        return v;
    snprintf(report->said, sizeof(report->said),
             "it changes what belongs to the process: %s", text);
    return RUN_BROKEN;
}

/* ---- Memory ------------------------------------------------------------------------------------ */

/* The server's table with another alloc; for one thread. */
static union {
    struct weir_host host;
    char room[PLUGIN_ROOM];
} refusing;
static void *(*real_alloc)(struct weir_ctx *, size_t);
static unsigned allocs_left;

static void *refuse(struct weir_ctx *ctx, size_t size)
{
    if (allocs_left == 0) {
        ctx->host->fail(ctx, "no memory");
        return NULL;
    }
    allocs_left--;
    return real_alloc(ctx, size);
}

static void refuse_after(struct runner *r, unsigned n)
{
    memcpy(&refusing, r->host[0].ctx.host, sizeof(refusing));
    real_alloc = refusing.host.alloc;
    refusing.host.alloc = refuse;
    allocs_left = n;
    r->host[0].ctx.host = &refusing.host;
}

static const struct step make_it = {.kind = STEP_NEW},
                         give_it = {.kind = STEP_EMIT, .n = 1};

static struct step fold_it(const struct frame *f)
{
    return (struct step){.kind = STEP_FOLD, .by = 1, .n = (uint32_t)f->n};
}

static enum run_verdict refuse_once(const struct binding *b, const struct rows *rows,
                                    const struct frame *f, unsigned n,
                                    struct run_report *report)
{
    struct runner r;
    struct given given;
    const struct step fold = fold_it(f);
    given_begin(&given, b);
    if (run_open(&r, b, rows, report, false) == RUN_HOLDS) {
        refuse_after(&r, n);
        if (run_step(&r, &make_it, f, &given) == RUN_HOLDS &&
            run_step(&r, &fold, f, &given) == RUN_HOLDS)
            run_step(&r, &give_it, f, &given);
        if (r.verdict == RUN_GAVE_UP)
            r.verdict = RUN_HOLDS; /* as it should; what it has, drop gives back */
        allocs_left = UINT32_MAX;
    }
    enum run_verdict v = run_close(&r);
    given_free(&given);
    return v;
}

enum run_verdict special_memory(const struct binding *b, const struct rows *rows,
                                uint64_t seed, struct run_report *report)
{
    struct frame f;
    enum run_verdict v = RUN_HOLDS;
    if (!frame_new(&f, rows, b->types, b->dictionary, 0, seed))
        return RUN_NO_MEMORY;
    for (unsigned n = 0; v == RUN_HOLDS && n < REFUSALS; n++)
        v = refuse_once(b, rows, &f, n, report);
    frame_free(&f);
    return v;
}

static size_t used_bytes(void)
{
#if __GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 33)
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
#else
    return 0;
#endif
}

/* Of the address sanitizer, if it is there: then mallinfo knows nothing. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

enum run_verdict special_leaks(const struct binding *b, const struct rows *rows,
                               uint64_t seed, struct run_report *report)
{
    const struct law *law = law_named(b->plugin->analyzer.merge ? "merge" : "save");
    size_t first = 0, last = 0, used;
    enum run_verdict v = RUN_HOLDS;
    bool grows = true;
    for (int i = -LEAK_WARM; v == RUN_HOLDS && grows && i <= LEAK_RUNS; i++) {
        v = run_law(b, law, rows, false, false, seed, report);
        used = used_bytes();
        first = i <= 0 ? used : first;
        grows = i <= 0 || used > last;
        last = used;
    }
    if (v != RUN_HOLDS)
        return v;
    if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check()) {
        snprintf(report->said, sizeof(report->said), "memory is lost");
        return RUN_BROKEN;
    }
    if (!grows)
        return RUN_HOLDS;
    snprintf(report->said, sizeof(report->said),
             "memory is lost: the process grows by %zu bytes whenever it does the same "
             "again",
             (last - first) / LEAK_RUNS);
    return RUN_BROKEN;
}

/* ---- Damaged bytes ----------------------------------------------------------------------------- */

/* The bytes end where memory does. Loaded, or refused with a text: both are well. */
static void load(struct runner *r, const struct buffer *saved, size_t size, size_t flip,
                 struct given *given)
{
    const struct step *steps[] = {&make_it, &give_it};
    struct fence g;
    struct host *h = &r->host[0];
    if (!fence_new(&g, size)) {
        r->verdict = RUN_NO_MEMORY;
        return;
    }
    if (size)
        memcpy(g.data, saved->data, size);
    if (flip < size * 8)
        g.data[flip / 8] ^= (char)(1 << flip % 8);
    run_step(r, steps[0], NULL, given);
    snprintf(r->report->call, sizeof(r->report->call), "load");
    int result = r->verdict == RUN_HOLDS ? r->a->load(&h->ctx, run_state(r, 0),
                                                      r->a->state_version, g.data, size)
                                         : -1;
    r->report->call[0] = 0;
    if (h->failed)
        run_broken(r, "load: %s", h->error.text);
    else if (result < 0 && !h->error.text[0])
        run_broken(r, "load refused damaged bytes and did not say why");
    else if (result == 0)
        run_step(r, steps[1], NULL, given);
    h->error.text[0] = 0;
    /* Values that no column takes stop the pipeline, and nothing else. */
    if (r->verdict == RUN_GAVE_UP || (result == 0 && h->failed))
        r->verdict = RUN_HOLDS;
    h->failed = false;
    fence_free(&g);
    if (r->alive[0] && r->a->drop) {
        snprintf(r->report->call, sizeof(r->report->call), "drop");
        r->a->drop(&h->ctx, run_state(r, 0));
        r->report->call[0] = 0;
    }
    r->alive[0] = false;
}

static void damage(struct runner *r, const struct frame *f, uint64_t seed,
                   struct given *given)
{
    struct dice d = dice_of(seed);
    struct buffer saved = {0};
    struct weir_out out = {.bytes = &saved};
    const struct step fold = fold_it(f);
    run_step(r, &make_it, f, given);
    run_step(r, &fold, f, given);
    if (r->verdict == RUN_HOLDS &&
        r->a->save(&r->host[0].ctx, run_state(r, 0), &out) == 0 && !saved.error) {
        if (r->a->drop)
            r->a->drop(&r->host[0].ctx, run_state(r, 0));
        r->alive[0] = false;
        for (unsigned i = 0; r->verdict == RUN_HOLDS && i < DAMAGED; i++) {
            size_t near = saved.size < 64 || dice(&d, 2) ? saved.size : 64;
            load(r, &saved, saved.size, saved.size ? dice(&d, near * 8) : 0, given);
        }
        for (size_t size = 0; r->verdict == RUN_HOLDS && size < saved.size;
             size += size < 64 ? 1 : 509)
            load(r, &saved, size, SIZE_MAX, given);
    }
    buffer_free(&saved);
}

enum run_verdict special_damage(const struct binding *b, const struct rows *rows,
                                uint64_t seed, struct run_report *report)
{
    struct runner r;
    struct frame f;
    struct given given;
    if (!b->plugin->analyzer.save)
        return RUN_HOLDS;
    if (!frame_new(&f, rows, b->types, b->dictionary, 0, seed))
        return RUN_NO_MEMORY;
    given_begin(&given, b);
    if (run_open(&r, b, rows, report, false) == RUN_HOLDS)
        damage(&r, &f, seed, &given);
    enum run_verdict v = run_close(&r);
    given_free(&given);
    frame_free(&f);
    return v;
}

/* ---- Groups ------------------------------------------------------------------------------------ */

struct many {
    struct host host;
    const struct weir_analyzer *a;
    struct fence states;
    size_t stride;
    struct run_report *report;
};

static bool many_call(struct many *m, const char *call)
{
    snprintf(m->report->call, sizeof(m->report->call), "%s", call);
    return true;
}

static int many_init(struct many *m)
{
    for (size_t g = 0; m->a->init && g < MANY_GROUPS; g++)
        if (m->a->init(&m->host.ctx, run_window(true), m->states.data + g * m->stride))
            return -1;
    return 0;
}

static int many_update(struct many *m, const struct frame *f)
{
    uint32_t row[1], group[1];
    union host_rows rows;
    memset(&rows, 0, sizeof(rows));
    rows.rows = (struct weir_rows){.size = sizeof(rows.rows),
                                   .n = 1,
                                   .row = row,
                                   .group = group,
                                   .states = m->states.data,
                                   .stride = m->stride,
                                   .time = f->time,
                                   .in = f->in,
                                   .sequence = FRAME_SEQUENCE};
    int result = 0;
    for (uint32_t g = 0; result == 0 && g < MANY_GROUPS; g++) {
        row[0] = f->row[g % f->n];
        group[0] = g;
        result = m->a->update(&m->host.ctx, &rows.rows);
    }
    return result;
}

static int many_emit(struct many *m, struct given *given)
{
    const struct weir_window *window[MANY_AT_ONCE];
    const void *state[MANY_AT_ONCE];
    int result = 0;
    for (size_t g = 0; result == 0 && g < MANY_GROUPS; g += MANY_AT_ONCE) {
        struct weir_out out;
        size_t n = MANY_GROUPS - g < MANY_AT_ONCE ? MANY_GROUPS - g : MANY_AT_ONCE;
        for (size_t i = 0; i < n; i++) {
            window[i] = run_window(false);
            state[i] = m->states.data + (g + i) * m->stride;
        }
        given_clear(given);
        given_collect(given, &out, n, 0);
        result = m->a->emit(&m->host.ctx, n, window, state, &out);
    }
    return result;
}

static enum run_verdict many_run(struct many *m, const struct frame *f,
                                 struct given *given)
{
    int result = many_call(m, "init") ? many_init(m) : 0;
    if (result == 0 && many_call(m, "update"))
        result = many_update(m, f);
    size_t held = m->host.memory - m->host.own_memory;
    special_group_bytes = (double)m->a->state_size + (double)held / MANY_GROUPS;
    if (result == 0 && many_call(m, "emit"))
        result = many_emit(m, given);
    if (result || m->host.failed) {
        snprintf(m->report->said, sizeof(m->report->said), "with %u groups, %s: %s",
                 MANY_GROUPS, m->report->call, m->host.error.text);
        return m->host.failed ? RUN_BROKEN : RUN_GAVE_UP;
    }
    many_call(m, "drop");
    for (size_t g = 0; m->a->drop && g < MANY_GROUPS; g++)
        m->a->drop(&m->host.ctx, m->states.data + g * m->stride);
    if (m->host.memory == m->host.own_memory)
        return RUN_HOLDS;
    snprintf(m->report->said, sizeof(m->report->said),
             "of %u groups %zu bytes were not given back by drop", MANY_GROUPS,
             m->host.memory - m->host.own_memory);
    return RUN_BROKEN;
}

enum run_verdict special_many(const struct binding *b, const struct rows *rows,
                              uint64_t seed, struct run_report *report)
{
    struct frame f;
    struct given given;
    struct error error = {""};
    struct many m = {.a = &b->plugin->analyzer, .report = report};
    enum run_verdict v = RUN_NO_MEMORY;
    m.stride = (m.a->state_size + 15) / 16 * 16;
    if (rows->n == 0 || m.stride * MANY_GROUPS > (size_t)1 << 30)
        return RUN_HOLDS;
    if (!frame_new(&f, rows, b->types, b->dictionary, 0, seed))
        return RUN_NO_MEMORY;
    given_begin(&given, b);
    if (fence_new(&m.states, MANY_GROUPS * m.stride) &&
        host_open(&m.host, (struct binding *)(uintptr_t)b, "check", NULL, NULL,
                  &error) == 0) {
        v = many_run(&m, &f, &given);
        many_call(&m, "close");
        host_close(&m.host);
        report->call[0] = 0;
    }
    given_free(&given);
    fence_free(&m.states);
    frame_free(&f);
    return v;
}

/* ---- Threads ----------------------------------------------------------------------------------- */

struct thread {
    const struct binding *b;
    const struct rows *rows;
    uint64_t seed;
    struct run_report *report;
    enum run_verdict verdict;
};

static void *run_thread(void *ctx)
{
    struct thread *t = ctx;
    const struct law *law = law_named("save");
    for (int i = 0; t->verdict == RUN_HOLDS && i < THREAD_RUNS; i++)
        t->verdict =
            run_law(t->b, law, t->rows, true, false, t->seed + (uint64_t)i, t->report);
    return NULL;
}

enum run_verdict special_threads(const struct binding *b, const struct rows *rows,
                                 uint64_t seed, struct run_report *report)
{
    static struct run_report second;
    struct thread t[2] = {{b, rows, seed, report, RUN_HOLDS},
                          {b, rows, seed + THREAD_RUNS, &second, RUN_HOLDS}};
    pthread_t other;
    if (b->plugin->analyzer.threads != WEIR_THREADS_CTX)
        return RUN_HOLDS;
    /* Outputs that open describes are the binding's from then on. */
    enum run_verdict alone =
        run_law(b, law_named("split"), rows, true, false, seed, report);
    if (alone != RUN_HOLDS)
        return alone;
    if (pthread_create(&other, NULL, run_thread, &t[1]))
        return RUN_NO_MEMORY;
    run_thread(&t[0]);
    pthread_join(other, NULL);
    if (t[0].verdict != RUN_HOLDS || t[1].verdict == RUN_HOLDS)
        return t[0].verdict;
    memcpy(report, &second, sizeof(second));
    return t[1].verdict;
}
