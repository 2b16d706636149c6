/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes between two processes: they come as they were put, whatever their number, and what the other end writes into the indices
 * costs nothing but the bytes.
 */
#include "apart/ring.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SIZE 64u

static struct ring_shared shared;
static char room[SIZE + 16]; /* with bytes behind it that stay as they are */
static struct ring writer, reader;

static int setup(void **unused)
{
    (void)unused;
    memset(&shared, 0, sizeof(shared));
    memset(room, 0x55, sizeof(room));
    writer = reader = (struct ring){.shared = &shared, .data = room, .size = SIZE};
    return 0;
}

static void check_behind(void)
{
    for (size_t i = SIZE; i < sizeof(room); i++)
        assert_int_equal(room[i], 0x55);
}

static void bytes_come_as_they_were_put_around_the_end(void **unused)
{
    (void)unused;
    unsigned char in = 0, out = 0;
    for (unsigned n = 1; n <= SIZE; n++) {
        unsigned char bytes[SIZE], back[SIZE];
        for (unsigned i = 0; i < n; i++)
            bytes[i] = in++;
        assert_true(ring_room(&writer, n) >= n);
        ring_write(&writer, bytes, n);
        assert_int_equal(ring_ready(&reader, n), 0); /* not published yet */
        assert_false(ring_publish(&writer));         /* nobody sleeps */
        assert_int_equal(ring_behind(&writer), n);
        assert_int_equal(ring_ready(&reader, n), n);
        ring_read(&reader, back, n);
        assert_false(ring_give_back(&reader));
        for (unsigned i = 0; i < n; i++)
            assert_int_equal(back[i], out++);
    }
    assert_int_equal(ring_room(&writer, SIZE), SIZE);
    check_behind();
}

static void what_is_read_is_room_once_it_is_given_back(void **unused)
{
    (void)unused;
    char bytes[SIZE] = "";
    ring_write(&writer, bytes, SIZE);
    ring_publish(&writer);
    assert_int_equal(ring_room(&writer, 1), 0);
    assert_int_equal(ring_ready(&reader, 10), SIZE);
    ring_read(&reader, bytes, 10);
    assert_int_equal(ring_room(&writer, 1), 0);
    ring_give_back(&reader);
    assert_int_equal(ring_room(&writer, 1), 10);
    assert_int_equal(ring_ready(&reader, 1), SIZE - 10);
}

static void who_sleeps_is_woken_once(void **unused)
{
    (void)unused;
    char bytes[SIZE] = "";
    assert_true(ring_sleep_for_bytes(&reader));
    ring_write(&writer, bytes, SIZE);
    assert_true(ring_publish(&writer));
    assert_false(ring_publish(&writer));
    assert_false(ring_sleep_for_bytes(&reader)); /* there are some */
    assert_true(ring_sleep_for_room(&writer));
    assert_int_equal(ring_ready(&reader, 1), SIZE);
    ring_read(&reader, bytes, 1);
    assert_true(ring_give_back(&reader));
    assert_false(ring_give_back(&reader));
    assert_false(ring_sleep_for_room(&writer));
}

static void nobody_is_woken_for_what_is_known(void **unused)
{
    (void)unused;
    char bytes[SIZE] = "";
    ring_write(&writer, bytes, SIZE);
    assert_true(ring_has_written(&writer));
    ring_publish(&writer);
    assert_false(ring_has_written(&writer));
    assert_true(ring_sleep_for_room(&writer));
    assert_false(ring_give_back(&reader)); /* nothing was read */
    assert_int_equal(ring_ready(&reader, SIZE), SIZE);
    ring_read(&reader, bytes, SIZE);
    assert_true(ring_give_back(&reader));
    assert_true(ring_sleep_for_bytes(&reader));
    assert_false(ring_publish(&writer)); /* nothing was written */
    ring_write(&writer, bytes, 1);
    assert_true(ring_publish(&writer));
}

/* The reader is told of all that was written since it last was, however often it could have looked. */
static void what_is_shown_can_be_read_and_wakes_nobody(void **unused)
{
    (void)unused;
    char bytes[SIZE] = "";
    assert_true(ring_sleep_for_bytes(&reader));
    ring_write(&writer, bytes, 3);
    ring_show(&writer);
    assert_int_equal(ring_ready(&reader, SIZE), 3);
    assert_true(ring_has_written(&writer));
    assert_true(ring_publish(&writer)); /* it still sleeps */
    assert_false(ring_sleep_for_bytes(&reader));
    ring_read(&reader, bytes, 3);
    assert_true(ring_sleep_for_bytes(&reader));
    assert_false(ring_publish(&writer));
}

/* A plugin has the indices of its process in its memory. */
static void wrong_indices_give_no_bytes_and_no_room(void **unused)
{
    (void)unused;
    static const uint64_t wrong[] = {SIZE + 1, 1000, UINT64_MAX, UINT64_MAX / 2,
                                     (uint64_t)1 << 32};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        atomic_store(&shared.head, wrong[i]);
        atomic_store(&shared.tail, wrong[i]);
        assert_int_equal(ring_ready(&reader, SIZE), 0);
        assert_true(ring_room(&writer, SIZE) <= SIZE);
        assert_true(ring_behind(&writer) <= SIZE);
    }
    check_behind();
}

#define MANY 200000u

static void *write_many(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < MANY; i++) {
        while (ring_room(&writer, sizeof(i)) < sizeof(i))
            sched_yield();
        ring_write(&writer, &i, sizeof(i));
        ring_publish(&writer);
    }
    return NULL;
}

static void one_writes_while_the_other_reads(void **unused)
{
    (void)unused;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_many, NULL), 0);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t value = 0;
        while (ring_ready(&reader, sizeof(value)) < sizeof(value))
            sched_yield();
        ring_read(&reader, &value, sizeof(value));
        ring_give_back(&reader);
        assert_int_equal(value, i);
    }
    pthread_join(thread, NULL);
    check_behind();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bytes_come_as_they_were_put_around_the_end, setup),
        cmocka_unit_test_setup(what_is_read_is_room_once_it_is_given_back, setup),
        cmocka_unit_test_setup(who_sleeps_is_woken_once, setup),
        cmocka_unit_test_setup(nobody_is_woken_for_what_is_known, setup),
        cmocka_unit_test_setup(what_is_shown_can_be_read_and_wakes_nobody, setup),
        cmocka_unit_test_setup(wrong_indices_give_no_bytes_and_no_room, setup),
        cmocka_unit_test_setup(one_writes_while_the_other_reads, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
