/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool's arena, and batches that another process reads where they lie. The other process is this
 * program again, started with exec: it has nothing but the descriptor and the header.
 */
#include "batch/pool.h"
#include "batch/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ROWS 3000u /* of time, name: "n0", "n1", ..., qty: every third one null */

static char self[4096];

static struct batch *rows(struct schema **ret_schema)
{
    struct schema *s;
    struct batch *b;
    assert_int_equal(schema_new(3, "ts", &s), 0);
    assert_int_equal(schema_set(s, 1, "name", WEIR_STRING), 0);
    assert_int_equal(schema_set(s, 2, "qty", WEIR_INT), 0);
    assert_int_equal(batch_new(s, 0, &b), 0);
    for (uint32_t i = 0; i < ROWS; i++) {
        char name[16];
        size_t size = (size_t)snprintf(name, sizeof(name), "n%u", i);
        assert_int_equal(batch_grow(b), 0);
        assert_int_equal(batch_bytes(b, 1, size), 0);
        struct column *c = b->column;
        ((int64_t *)c[0].values)[i] = 1000 * (int64_t)i;
        memcpy(c[1].bytes + c[1].offsets[i], name, size);
        c[1].offsets[i + 1] = c[1].offsets[i] + (int32_t)size;
        ((int64_t *)c[2].values)[i] = i % 3 ? i : 0;
        if (i % 3 == 0)
            assert_int_equal(batch_set_null(b, 2), 0);
        b->n_rows++;
    }
    batch_seal(b);
    *ret_schema = s;
    return b;
}

/* In the other process: the descriptor is 3, the header comes on standard input. 0: all rows are right. */
static int read_as_stranger(size_t arena_size)
{
    union {
        struct shared_batch batch;
        char bytes[1024];
    } header;
    struct weir_column v[3];
    void *arena = mmap(NULL, arena_size, PROT_READ, MAP_SHARED, 3, 0);
    if (read(0, header.bytes, sizeof(header)) != (ssize_t)shared_size(3) ||
        arena == MAP_FAILED || shared_read(&header.batch, arena, arena_size, v) < 0)
        return 2;
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0) != MAP_FAILED)
        return 3;
    for (uint32_t i = 0; i < ROWS; i++) {
        char name[16];
        size_t size, expected = (size_t)snprintf(name, sizeof(name), "n%u", i);
        const char *s = weir_string(&v[1], i, &size);
        if (weir_int(&v[0], i) != 1000 * (int64_t)i || size != expected ||
            memcmp(s, name, size) || weir_is_null(&v[2], i) != (i % 3 == 0) ||
            (i % 3 && weir_int(&v[2], i) != i))
            return 4;
    }
    return 0;
}

static int run_stranger(const struct shared_batch *header, size_t size)
{
    int to[2], status;
    assert_int_equal(pipe(to), 0);
    assert_int_equal(write(to[1], header, size), (ssize_t)size);
    close(to[1]);
    char arena[32];
    snprintf(arena, sizeof(arena), "%zu", pool_arena_size());
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(to[0], 0) < 0 || dup2(pool_arena_fd(), 3) < 0)
            _exit(9);
        execl(self, self, arena, (char *)NULL);
        _exit(9);
    }
    close(to[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void another_process_reads_a_batch_where_it_lies(void **state)
{
    (void)state;
    if (pool_arena_fd() < 0)
        skip(); /* no memfd here */
    struct schema *s;
    struct batch *b = rows(&s);
    struct shared_batch *header = malloc(shared_size(s->n));
    assert_non_null(header);
    shared_write(b, header);
    assert_int_equal(run_stranger(header, shared_size(s->n)), 0);
    free(header);
    batch_unref(b);
    schema_free(s);
}

static void a_header_that_leads_out_of_the_arena_is_refused(void **state)
{
    (void)state;
    struct schema *s;
    struct batch *b = rows(&s);
    size_t size = pool_arena_size();
    const char *arena =
        (const char *)b->column[0].values - pool_offset(b->column[0].values);
    struct shared_batch *h = malloc(shared_size(s->n));
    struct weir_column v[3];
    assert_non_null(h);
    shared_write(b, h);
    assert_int_equal(shared_read(h, arena, size, v), 0);
    assert_ptr_equal(v[0].values, b->column[0].values);
    const uint64_t wrong[] = {size, size - 8, UINT64_MAX - 7, h->column[0].values + 1};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        shared_write(b, h);
        h->column[0].values = wrong[i];
        assert_int_equal(shared_read(h, arena, size, v), -EBADMSG);
    }
    shared_write(b, h);
    h->column[1].bytes = size - 1;
    assert_int_equal(shared_read(h, arena, size, v), -EBADMSG);
    shared_write(b, h);
    h->column[1].offsets = SHARED_NONE;
    assert_int_equal(shared_read(h, arena, size, v), -EBADMSG);
    shared_write(b, h);
    h->column[0].type = 77;
    assert_int_equal(shared_read(h, arena, size, v), -EBADMSG);
    shared_write(b, h);
    h->n_rows = BATCH_ROWS_MAX + 1;
    assert_int_equal(shared_read(h, arena, size, v), -EBADMSG);
    free(h);
    batch_unref(b);
    schema_free(s);
}

static uint64_t memory_of_arena(void)
{
    struct stat st;
    assert_int_equal(fstat(pool_arena_fd(), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void pages_beyond_what_is_kept_go_back(void **state)
{
    (void)state;
    if (pool_arena_fd() < 0)
        skip();
    enum { BLOCKS = 12, SIZE = 16 << 20 };
    void *block[BLOCKS];
    size_t room[BLOCKS];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            block[i] = pool_get(SIZE, &room[i]);
            assert_non_null(block[i]);
            memset(block[i], 1, SIZE);
        }
        assert_true(memory_of_arena() >= (uint64_t)BLOCKS * SIZE);
        for (size_t i = 0; i < BLOCKS; i++)
            pool_put(block[i], room[i]);
        assert_true(memory_of_arena() <= POOL_KEPT_MAX + ((uint64_t)8 << 20));
    }
}

/* A queue that is emptied and fills up again: its pages stay as long as as many are in use. */
static void pages_stay_while_as_many_are_in_use(void **state)
{
    (void)state;
    if (pool_arena_fd() < 0)
        skip();
    enum { BLOCKS = 12, SIZE = 16 << 20 };
    void *block[BLOCKS];
    size_t room[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        block[i] = pool_get(SIZE, &room[i]);
        assert_non_null(block[i]);
        memset(block[i], 1, SIZE);
    }
    for (size_t i = 0; i < BLOCKS / 3; i++)
        pool_put(block[i], room[i]);
    assert_true(memory_of_arena() >= (uint64_t)BLOCKS * SIZE);
    for (size_t i = BLOCKS / 3; i < BLOCKS; i++)
        pool_put(block[i], room[i]);
    assert_true(memory_of_arena() <= POOL_KEPT_MAX + ((uint64_t)8 << 20));
}

static void more_than_a_block_can_be_is_refused(void **state)
{
    (void)state;
    size_t room = 7;
    assert_null(pool_get(((size_t)1 << 30) + 1, &room));
    assert_null(pool_get(SIZE_MAX, &room));
    assert_int_equal(room, 7);
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return read_as_stranger(strtoull(argv[1], NULL, 10));
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0)
        return 99;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_process_reads_a_batch_where_it_lies),
        cmocka_unit_test(a_header_that_leads_out_of_the_arena_is_refused),
        cmocka_unit_test(pages_beyond_what_is_kept_go_back),
        cmocka_unit_test(pages_stay_while_as_many_are_in_use),
        cmocka_unit_test(more_than_a_block_can_be_is_refused),
    };
    return cmocka_run_group_tests_name("shared", tests, NULL, NULL);
}
