/* SPDX-License-Identifier: Apache-2.0
 *
 * Trimming that is held off, and segments with damage, which are not written to any more.
 */
#include "fixture.h"

#include "base/logger.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FRAMES 14 /* of 16 KiB: four of them fill a segment */

static void fill(struct fixture *f)
{
    for (int i = 0; i < FRAMES; i++)
        fixture_commit(f, 1, 16000);
}

static int hold(struct fixture *f)
{
    int fd;
    assert_int_equal(journal_hold(f->folder, &fd, &f->error), 0);
    assert_true(fd >= 0);
    return fd;
}

static void nothing_is_trimmed_while_it_is_held(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fill(f);
    int first = hold(f), second = hold(f);
    journal_trim(f->j, FRAMES);
    assert_int_equal(journal_first(f->j), 1);
    close(first);
    journal_trim(f->j, FRAMES);
    assert_int_equal(journal_first(f->j), 1);
    fixture_check(f, f->j, 0, FRAMES);
    close(second);
    journal_trim(f->j, FRAMES);
    assert_true(journal_first(f->j) > 4);
}

static void a_hold_needs_no_server(void **state)
{
    struct fixture *f = *state;
    int fd;
    assert_int_equal(journal_hold(f->folder, &fd, &f->error), -ENOENT);
    assert_non_null(strstr(f->error.text, f->folder));
    fixture_open(f);
    fill(f);
    fixture_close(f);
    fixture_run("rm '%s/hold'", f->folder); /* as in a copy */
    fd = hold(f);
    fixture_open(f);
    journal_trim(f->j, FRAMES);
    assert_int_equal(journal_first(f->j), 1);
    close(fd);
}

/* ---- A journal that begins anew waits for it ---- */

struct restart {
    struct fixture *f;
    _Atomic bool done;
};

static void *restart(void *ctx)
{
    struct restart *r = ctx;
    assert_int_equal(journal_restart(r->f->j, 100), 0);
    atomic_store(&r->done, true);
    return NULL;
}

/* By the kernel's list of locks: a line with "->" is one that is waited for. */
static bool is_waited_for(const char *folder)
{
    char path[128], line[256], inode[32];
    struct stat st;
    bool found = false;
    snprintf(path, sizeof(path), "%s/hold", folder);
    assert_int_equal(stat(path, &st), 0);
    snprintf(inode, sizeof(inode), ":%llu ", (unsigned long long)st.st_ino);
    FILE *locks = fopen("/proc/locks", "re");
    assert_non_null(locks);
    while (fgets(line, sizeof(line), locks))
        found = found || (strstr(line, "->") && strstr(line, inode));
    fclose(locks);
    return found;
}

static void beginning_anew_waits_for_it(void **state)
{
    struct fixture *f = *state;
    struct restart r = {.f = f};
    pthread_t thread;
    fixture_open(f);
    fill(f);
    int fd = hold(f);
    assert_int_equal(pthread_create(&thread, NULL, restart, &r), 0);
    for (int i = 0; i < 10000 && !is_waited_for(f->folder); i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_true(is_waited_for(f->folder));
    assert_false(atomic_load(&r.done));
    assert_int_equal(fixture_files(f->folder, ".journal", NULL), 4);
    close(fd);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&r.done));
    assert_int_equal(fixture_files(f->folder, ".journal", NULL), 0);
    assert_int_equal(journal_end(f->j), 100);
}

/* ---- Damage ---- */

static void flip(struct fixture *f, const char *name, size_t at)
{
    size_t size;
    char *bytes = fixture_read(f->folder, name, &size);
    bytes[at] = (char)(bytes[at] ^ 0x10);
    fixture_write(f->folder, name, bytes, size);
    free(bytes);
}

static void a_last_segment_with_damage_can_be_trimmed(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    for (int i = 0; i < 3; i++)
        fixture_commit(f, 1, 5000);
    fixture_close(f);
    flip(f, "00000001.journal", 8192 + 100); /* the second of three frames of 8 KiB */
    assert_int_equal(journal_open(&f->options, NULL, &f->j, &f->error), -EBADMSG);
    assert_non_null(strstr(f->error.text, "positions 2 to 2 are lost"));
    assert_non_null(strstr(f->error.text, "--skip-damaged"));
    f->options.skip_damaged = true;
    fixture_open(f);
    fixture_commit(f, 1, 5000);
    assert_int_equal(fixture_files(f->folder, ".journal", NULL), 2);
    journal_trim(f->j, 4);
    assert_int_equal(journal_first(f->j), 4);
    f->options.skip_damaged = false;
    fixture_reopen(f);
    assert_int_equal(journal_end(f->j), 5);
    fixture_check(f, f->j, 3, 4);
}

int main(void)
{
#define in_memory(test)                                                                \
    cmocka_unit_test_setup_teardown(test, fixture_setup_memory, fixture_teardown)
    logger_setup(LOGGER_ERROR, false);
    const struct CMUnitTest tests[] = {
        in_memory(nothing_is_trimmed_while_it_is_held),
        in_memory(a_hold_needs_no_server),
        in_memory(beginning_anew_waits_for_it),
        in_memory(a_last_segment_with_damage_can_be_trimmed),
    };
    return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}
