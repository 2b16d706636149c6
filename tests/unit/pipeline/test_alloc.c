/* SPDX-License-Identifier: Apache-2.0
 *
 * From the log to the groups nothing is allocated and no lock is taken for a row: batches of 60,000 rows
 * cost as much of both as batches of 6,000. The linker puts the functions below in place of the
 * allocator's and the mutex's (--wrap).
 */
#include "../allocations.h"
#include "fixture.h"

#include "base/clock.h"
#include "base/hash.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static _Atomic size_t locks;

int __real_pthread_mutex_lock(pthread_mutex_t *m);

int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
    locks++;
    return __real_pthread_mutex_lock(m);
}

static int put_nothing(void *ctx, const char *pipeline, unsigned worker,
                       unsigned workers, uint64_t position, int64_t watermark_us,
                       struct rowset *rows)
{
    (void)ctx, (void)pipeline, (void)worker, (void)workers, (void)position,
        (void)watermark_us;
    for (struct rowset *next; rows; rows = next) {
        next = rows->next;
        rowset_free(rows);
    }
    return 0;
}

#define KEYS    500
#define BATCHES 20

static const char text[] =
    "streams:\n"
    "  t: {time: {field: ts, unit: us}, fields: {k: string, n: int, x: float}}\n"
    "pipelines:\n"
    "  p:\n"
    "    from: t\n"
    "    key: [k]\n"
    "    window: {tumbling: 1h}\n"
    "    where: n >= 0\n"
    "    analyzers:\n"
    "      - count\n"
    "      - stats: {of: x}\n"
    "      - ohlc: {of: x}\n"
    "      - vwap: {price: x, volume: n}\n";

/* All keys in one window, over and over. */
static struct batch *make_batch(const struct schema *s, uint32_t rows)
{
    struct batch *b;
    assert_int_equal(batch_new(s, rows, &b), 0);
    for (uint32_t i = 0; i < rows; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%03u", i % KEYS);
        assert_int_equal(batch_grow(b), 0);
        assert_int_equal(batch_bytes(b, 1, 4), 0);
        int32_t at = b->column[1].offsets[i];
        memcpy(b->column[1].bytes + at, key, 4);
        b->column[1].offsets[i + 1] = at + 4;
        ((int64_t *)b->column[0].values)[i] = i;
        ((int64_t *)b->column[2].values)[i] = i % 100;
        ((double *)b->column[3].values)[i] = i * 0.25;
        b->n_rows++;
    }
    return b;
}

struct cost {
    size_t allocations, locks;
};

/* Of BATCHES batches of so many rows, from the inbox to the groups, without making the batches. */
static struct cost cost_of(uint32_t rows)
{
    struct stage stage;
    const struct pipeline_sink sink = {.put = put_nothing};
    stage_prepare(&stage, text, &sink, INT64_MIN);
    stage_start(&stage, (struct log_options){.queue_events = UINT64_MAX});
    struct batch *batch[BATCHES];
    for (int i = 0; i < BATCHES; i++)
        batch[i] = make_batch(stage.config->stream[0].schema, rows);
    struct cost before = {allocations, locks};
    for (int i = 0; i < BATCHES; i++)
        assert_int_equal(stage_append(&stage, batch[i]), 0);
    struct pipeline_status status;
    stage_end(&stage, LOG_LEAVE, &status);
    struct cost cost = {allocations - before.allocations, locks - before.locks};
    assert_int_equal(status.events, (uint64_t)rows * BATCHES);
    stage_free(&stage);
    return cost;
}

static void rows_cost_no_allocation_and_no_lock(void **state)
{
    (void)state;
    struct cost few = cost_of(6000), many = cost_of(60000);
    print_message(
        "of 120,000 rows: %zu allocations, %zu locks; of 1,200,000: %zu, %zu\n",
        few.allocations, few.locks, many.allocations, many.locks);
    /* Queues may be found full or empty, which costs a lock or two a batch; rows are 1,080,000 more. */
    assert_in_range(many.allocations, 0, few.allocations + 20 * BATCHES);
    assert_in_range(many.locks, 0, few.locks + 50 * BATCHES);
}

int main(void)
{
    hash_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_cost_no_allocation_and_no_lock)};
    return cmocka_run_group_tests_name("pipeline, allocations", tests, NULL, NULL);
}
