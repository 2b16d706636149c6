/* SPDX-License-Identifier: Apache-2.0
 *
 * Segments: made, filled, used again, within a limit; and disks that fail. The program is linked so that
 * pwrite, fdatasync, fallocate and flock can be made to fail, and readdir to miss a file (--wrap).
 */
#include "base/clock.h"
#include "base/logger.h"
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_US (30 * SECOND_US)

/* ---- Disks that fail ---- */

static struct {
    int sync_error, allocate_error;
    int write_error; /* once `write_left` bytes have been written */
    size_t write_left;
    int interrupts;     /* of so many calls of flock */
    const char *missed; /* by the first pass over the folder that comes by it */
} fault;

static int teardown(void **state)
{
    memset(&fault, 0, sizeof(fault));
    return fixture_teardown(state);
}

ssize_t __real_pwrite(int fd, const void *bytes, size_t size, off_t offset);
int __real_fdatasync(int fd);
int __real_fallocate(int fd, int mode, off_t offset, off_t size);
int __real_flock(int fd, int operation);
struct dirent *__real_readdir(DIR *d);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size);
int __wrap_flock(int fd, int operation);
struct dirent *__wrap_readdir(DIR *d);

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (!fault.write_error)
        return __real_pwrite(fd, bytes, size, offset);
    if (fault.write_left == 0) {
        errno = fault.write_error;
        return -1;
    }
    size = size < fault.write_left ? size : fault.write_left;
    fault.write_left -= size;
    return __real_pwrite(fd, bytes, size, offset);
}

int __wrap_fdatasync(int fd)
{
    errno = fault.sync_error;
    return fault.sync_error ? -1 : __real_fdatasync(fd);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t size)
{
    errno = fault.allocate_error;
    return fault.allocate_error ? -1 : __real_fallocate(fd, mode, offset, size);
}

int __wrap_flock(int fd, int operation)
{
    if (fault.interrupts == 0)
        return __real_flock(fd, operation);
    fault.interrupts--;
    errno = EINTR;
    return -1;
}

struct dirent *__wrap_readdir(DIR *d)
{
    struct dirent *e = __real_readdir(d);
    if (!fault.missed || !e || strcmp(e->d_name, fault.missed) != 0)
        return e;
    fault.missed = NULL;
    return __real_readdir(d);
}

static void a_lock_that_cannot_be_written_is_an_error(void **state)
{
    struct fixture *f = *state;
    fault.write_left = 1; /* of its number */
    fault.write_error = ENOSPC;
    errno = 0;
    assert_int_equal(journal_open(&f->options, NULL, &f->j, &f->error), -ENOSPC);
    assert_non_null(strstr(f->error.text, "lock: No space left on device"));
    assert_null(f->j);
}

static void a_signal_does_not_keep_anybody_from_waiting_for_a_lock(void **state)
{
    struct fixture *f = *state;
    struct journal_report report;
    char to[96];
    int fd;
    fault.interrupts = 3;
    fixture_open(f);
    fixture_commit(f, 1, 100);
    fault.interrupts = 3;
    assert_int_equal(journal_verify(f->folder, &report, &f->error), 0);
    snprintf(to, sizeof(to), "%s/copy", f->root);
    fault.interrupts = 3;
    assert_int_equal(journal_copy(f->folder, 1, to, &f->error), 0);
    fault.interrupts = 3;
    assert_int_equal(journal_hold(f->folder, &fd, &f->error), 0);
    close(fd);
    fault.interrupts = 3;
    assert_int_equal(journal_restart(f->j, 100), 0);
}

static void no_room_on_disk_leaves_nothing_of_the_frame(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_commit(f, 1, 30000);
    fault.allocate_error = ENOSPC; /* the next segment */
    assert_int_equal(fixture_try(f, 1, 40000), -ENOSPC);
    assert_int_equal(journal_pending(f->j), 40000);
    assert_int_equal(fixture_try(f, 1, 40000), -ENOSPC);
    journal_abandon(f->j);
    fixture_commit(f, 1, 100); /* there is room for this one */
    fault.allocate_error = 0;
    fixture_commit(f, 1, 40000);
    fixture_reopen(f);
    fixture_check(f, f->j, 0, 3);
}

/* Copying file systems may have no room for what was written before. */
static void no_room_within_a_frame_leaves_nothing_of_it(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_commit(f, 1, 100);
    fault.write_left = 8192;
    fault.write_error = ENOSPC;
    assert_int_equal(fixture_try(f, 1, 20000), -ENOSPC);
    fault.write_error = 0;
    journal_abandon(f->j);
    fixture_commit(f, 3, 4000);
    fixture_reopen(f);
    fixture_check(f, f->j, 0, 2);
    assert_int_equal(journal_end(f->j), 5);
}

static void what_no_room_left_of_a_frame_shows_no_frames(void **state)
{
    struct fixture *f = *state;
    uint64_t first;
    fixture_open(f);
    fixture_commit(f, 1, 100);
    fixture_add_forged(f, 8, 1, 5000);
    fault.write_left = 7 * 4096;
    fault.write_error = ENOSPC;
    assert_int_equal(journal_commit(f->j, 1, &first, &f->error), -ENOSPC);
    fault.write_error = 0;
    journal_abandon(f->j);
    fixture_commit(f, 1, 100); /* over the first block of it */
    fixture_reopen(f);
    assert_int_equal(journal_end(f->j), 3);
    fixture_check(f, f->j, 0, 2);
}

static void a_frame_that_may_be_on_disk_is_committed_again(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_commit(f, 1, 100);
    fault.sync_error = EIO;
    assert_int_equal(fixture_try(f, 2, 5000), -EIO);
    assert_null(journal_room(f->j, 1)); /* it must stay as it is */
    assert_int_equal(journal_end(f->j), 2);
    fault.sync_error = ENOSPC; /* is no promise that nothing is there */
    assert_int_equal(fixture_try(f, 2, 5000), -EIO);
    fault.sync_error = 0;
    fault.write_error = ENOSPC; /* nor is this, now */
    assert_int_equal(fixture_try(f, 2, 5000), -EIO);
    fault.write_error = 0;
    fixture_commit(f, 2, 5000);
    fixture_commit(f, 1, 10);
    fixture_reopen(f);
    fixture_check(f, f->j, 0, 3);
    assert_int_equal(journal_end(f->j), 5);
}

/* An error that means "not taken" to the caller is none while an earlier attempt may be on disk, and not even
 * at the first attempt if it comes from the write. */
static void no_error_lets_a_frame_be_abandoned_that_may_be_on_disk(void **state)
{
    static const int errors[] = {ENOMEM, EDQUOT, ENOSPC, EIO};
    struct fixture *f = *state;
    fixture_open(f);
    fixture_commit(f, 1, 100);
    fault.write_error = ENOMEM;
    assert_int_equal(fixture_try(f, 2, 5000), -EIO);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        fault.write_error = errors[i];
        assert_int_equal(fixture_try(f, 2, 5000), -EIO);
        assert_null(journal_room(f->j, 1));
    }
    fault.write_error = 0;
    fixture_commit(f, 2, 5000);
    fixture_reopen(f);
    fixture_check(f, f->j, 0, 2);
}

static int begin_error;

static int begin_or_fail(void *ctx, struct journal *j)
{
    (void)ctx;
    (void)j;
    return begin_error;
}

/* It is the first of its segment, of which the beginning is asked for again. */
static void nor_does_a_beginning_that_fails(void **state)
{
    struct fixture *f = *state;
    f->options.begin_segment = begin_or_fail;
    fixture_open(f);
    fault.sync_error = EIO;
    assert_int_equal(fixture_try(f, 1, 5000), -EIO);
    fault.sync_error = 0;
    begin_error = -ENOMEM;
    assert_int_equal(fixture_try(f, 1, 5000), -EIO);
    begin_error = 0;
    fixture_commit(f, 1, 5000);
    fixture_check(f, f->j, 0, 1);
}

static void a_new_segment_that_fails_is_begun_again(void **state)
{
    struct fixture *f = *state;
    f->options.begin_segment = fixture_begin;
    fixture_open(f);
    fixture_commit(f, 1, 30000);
    fault.sync_error = EIO; /* the beginning of the next segment */
    assert_int_equal(fixture_try(f, 1, 40000), -EIO);
    fault.sync_error = 0;
    fixture_commit(f, 1, 40000);
    fixture_reopen(f);
    fixture_check(f, f->j, 0, 2);
    assert_int_equal(fixture_files(f->folder, ".journal", NULL), 2);
}

/* ---- Sizes ---- */

static off_t size_of(struct fixture *f, int number)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%08d.journal", f->folder, number);
    return stat(path, &st) ? -1 : st.st_size;
}

static void segments_grow_up_to_their_size(void **state)
{
    struct fixture *f = *state;
    f->options.segment_size = 12 << 20;
    fixture_open(f);
    assert_int_equal(journal_bytes(f->j), 0);
    for (int i = 0; i < 40; i++)
        fixture_commit(f, 1, 1000000);
    assert_int_equal(size_of(f, 1), 4 << 20);
    assert_int_equal(size_of(f, 2), 8 << 20);
    assert_int_equal(size_of(f, 3), 12 << 20);
    assert_int_equal(size_of(f, 4), 12 << 20);
    assert_int_equal(size_of(f, 5), 12 << 20);
    fixture_commit(f, 1, 20000000); /* has one of its own */
    assert_int_equal(size_of(f, 6), (20000000 + 64 + 4095) / 4096 * 4096);
    fixture_commit(f, 1, 1);
    assert_int_equal(size_of(f, 7), 12 << 20);
    fixture_reopen(f);
    fixture_check(f, f->j, 0, f->n);
}

static void every_segment_begins_with_what_it_is_to_begin_with(void **state)
{
    struct fixture *f = *state;
    char name[32];
    size_t size;
    f->options.begin_segment = fixture_begin;
    fixture_open(f);
    for (int i = 0; i < 60; i++) {
        fixture_commit(f, 1, 9000 + (size_t)i % 3 * 20000);
        if (i % 20 == 7)
            fixture_reopen(f);
    }
    fixture_commit(f, 1, 100000); /* larger than a segment */
    fixture_check(f, f->j, 0, f->n);
    int n = (int)fixture_files(f->folder, ".journal", NULL);
    assert_true(n > 15);
    for (int i = 1; i <= n; i++) {
        snprintf(name, sizeof(name), "%08d.journal", i);
        char *bytes = fixture_read(f->folder, name, &size);
        assert_memory_equal(bytes + 64, "begin...", 8);
        free(bytes);
    }
}

/* ---- Trimming ---- */

/* The journal counts a spare from the beginning, while it is still being written. */
static void bytes_agree(struct fixture *f, uint64_t spare)
{
    uint64_t all, lock;
    fixture_files(f->folder, "", &all);
    fixture_files(f->folder, "lock", &lock);
    assert_in_range(journal_bytes(f->j), all - lock, all - lock + spare);
}

static ino_t inode_of(const char *folder, const char *name)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return stat(path, &st) ? 0 : st.st_ino;
}

static uint64_t random_state = 88172645463325252u;

/* xorshift64 (Marsaglia 2003) */
static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

/* Garbles the payload of the frame with this position, in whichever segment it is. */
static void tear_last(const char *folder, uint64_t first)
{
    char name[32];
    size_t size;
    for (uint32_t number = 1; number < 3000; number++) {
        snprintf(name, sizeof(name), "%08u.journal", number);
        if (inode_of(folder, name) == 0)
            continue;
        char *bytes = fixture_read(folder, name, &size);
        for (size_t at = 0; at < size; at += 4096)
            if (!memcmp(bytes + at, "WRF2", 4) && !memcmp(bytes + at + 8, &number, 4) &&
                !memcmp(bytes + at + 16, &first, 8)) {
                bytes[at + 64] ^= 1;
                fixture_write(folder, name, bytes, size);
            }
        free(bytes);
    }
}

/* What a power cut would leave just now: opened elsewhere, it holds [first kept, to). */
static void check_image(struct fixture *f, size_t kept, bool tear)
{
    struct fixture other = *f;
    snprintf(other.root, sizeof(other.root), "%.48s/image", f->root);
    other.options.folder = other.root;
    /* A spare may be renamed under the hands of cp. */
    fixture_run("for i in 1 2 3 4 5 6 7 8 9; do rm -rf '%s'; cp -r '%s' '%s' && exit "
                "0; done; exit 1",
                other.root, f->folder, other.root);
    size_t to = f->n;
    if (tear)
        tear_last(other.root, f->made[--to].first);
    fixture_open(&other);
    assert_true(journal_first(other.j) <= f->made[kept].first);
    fixture_check(&other, other.j, kept, to);
    fixture_close(&other);
}

static void segments_used_again_never_show_what_they_held(void **state)
{
    struct fixture *f = *state;
    size_t kept = 0, most = 0;
    fixture_open(f);
    for (int i = 0; i < 1500; i++) {
        fixture_commit(f, 1 + (uint32_t)random_below(3), 1 + random_below(20000));
        if (random_below(5) == 0) {
            kept += random_below(f->n - kept);
            journal_trim(f->j, f->made[kept].first);
        }
        size_t files = fixture_files(f->folder, "", NULL);
        most = files > most ? files : most;
        if (i % 50 == 49)
            check_image(f, kept, i % 100 == 99);
        if (i % 100 == 99)
            bytes_agree(f, 64 << 10);
        if (i % 300 == 299) {
            fixture_reopen(f);
            bytes_agree(f, 0);
            fixture_check(f, f->j, kept, f->n);
        }
    }
    assert_true(journal_first(f->j) > 1000);
    assert_true(most < 60);
}

static void a_segment_is_kept_as_long_as_one_position_is_needed(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    for (int i = 0; i < 12; i++) /* four a segment: 1, 5, 9 are the first of theirs */
        fixture_commit(f, 1, 16000);
    journal_trim(f->j, 4);
    assert_int_equal(journal_first(f->j), 1);
    journal_trim(f->j, 5);
    assert_int_equal(journal_first(f->j), 5);
    journal_trim(f->j, 8);
    assert_int_equal(journal_first(f->j), 5);
    journal_trim(f->j, 1000); /* the last one stays */
    assert_int_equal(journal_first(f->j), 9);
    assert_int_equal(fixture_files(f->folder, ".journal", NULL), 1);
    fixture_reopen(f);
    assert_int_equal(journal_first(f->j), 9);
    fixture_check(f, f->j, 8, 12);
}

static void what_is_to_stay_stays_as_long_as_it_is_the_newest(void **state)
{
    struct fixture *f = *state;
    uint64_t size;
    f->options.keep = 100000; /* as one segment has less, and two have more */
    fixture_open(f);
    for (int i = 0; i < 20; i++) /* four a segment: 1, 5, 9, 13, 17 */
        fixture_commit(f, 1, 16000);
    assert_int_equal(fixture_files(f->folder, ".journal", &size), 5);
    assert_true(size / 5 < 100000 && size / 5 * 2 >= 100000);
    journal_trim(f->j, 1000);
    assert_int_equal(journal_first(f->j), 13);
    journal_trim(f->j, 5);
    fixture_commit(f, 1, 16000); /* a sixth one begins */
    journal_trim(f->j, 1000);
    assert_int_equal(journal_first(f->j), 17);
    fixture_check(f, f->j, 16, 21);
}

static void a_reader_keeps_its_segments(void **state)
{
    struct fixture *f = *state;
    struct journal_reader *r;
    struct journal_frame frame;
    fixture_open(f);
    for (int i = 0; i < 20; i++)
        fixture_commit(f, 1, 16000);
    assert_int_equal(journal_reader_new(f->j, 6, &r, &f->error), 0);
    journal_trim(f->j, 20);
    assert_int_equal(journal_first(f->j), 5);
    for (size_t i = 4; i < 20; i++) {
        assert_int_equal(journal_reader_next(r, &frame, &f->error), 1);
        fixture_check_frame(&f->made[i], &frame);
        journal_trim(f->j, 20);
        assert_int_equal(journal_first(f->j), i / 4 * 4 + 1); /* those read are free */
        fixture_commit(f, 1, 100); /* overwrites what is free */
    }
    for (size_t i = 20; i < f->n; i++) {
        assert_int_equal(journal_reader_next(r, &frame, &f->error), 1);
        fixture_check_frame(&f->made[i], &frame);
    }
    assert_int_equal(journal_reader_next(r, &frame, &f->error), 0);
    journal_reader_free(r);
    journal_reader_free(NULL);
}

static void a_reader_of_an_empty_journal_sees_what_comes(void **state)
{
    struct fixture *f = *state;
    struct journal_reader *r;
    struct journal_frame frame;
    fixture_open(f);
    assert_int_equal(journal_reader_new(f->j, 1, &r, &f->error), 0);
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(journal_reader_next(r, &frame, &f->error), 0);
        fixture_commit(f, 1, 7000);
        assert_int_equal(journal_reader_next(r, &frame, &f->error), 1);
        fixture_check_frame(&f->made[i], &frame);
    }
    journal_reader_free(r);
}

static void trimming_waits_while_somebody_copies(void **state)
{
    struct fixture *f = *state;
    char path[128];
    fixture_open(f);
    for (int i = 0; i < 12; i++)
        fixture_commit(f, 1, 16000);
    snprintf(path, sizeof(path), "%s/hold", f->folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_SH), 0);
    journal_trim(f->j, 12);
    assert_int_equal(journal_first(f->j), 1);
    close(fd);
    journal_trim(f->j, 12);
    assert_int_equal(journal_first(f->j), 9);
}

/* ---- The limit ---- */

static void at_the_limit_nothing_is_taken_until_something_is_trimmed(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes;
    int err;
    f->options.limit = 1 << 20;
    fixture_open(f);
    for (int round = 0; round < 5; round++) {
        while (!(err = fixture_try(f, 1, 10000)))
            ;
        assert_int_equal(err, -EDQUOT);
        assert_non_null(strstr(f->error.text, "the limit of 1048576 bytes is reached"));
        assert_true(journal_bytes(f->j) <= 1 << 20);
        fixture_files(f->folder, "", &bytes);
        assert_true(bytes <= (1 << 20) + 32 && bytes > 900 << 10);
        assert_int_equal(fixture_try(f, 1, 10000), -EDQUOT);
        if (round % 2)
            journal_abandon(f->j);
        fixture_check(f, f->j, f->n - 30, f->n);
        journal_trim(f->j, journal_end(f->j) - 1);
        fixture_commit(f, 1, 10000);
        if (round == 2)
            fixture_reopen(f);
    }
    fixture_reopen(f);
    bytes_agree(f, 0);
}

/* Spares are of no use to a frame that does not fit into them. */
static void spares_are_given_up_for_a_frame(void **state)
{
    struct fixture *f = *state;
    f->options.limit = 1 << 20;
    fixture_open(f);
    for (int i = 0; i < 40; i++)
        fixture_commit(f, 1, 16000);
    journal_trim(f->j, 40);
    assert_int_equal(fixture_files(f->folder, ".journal", NULL), 1);
    assert_true(journal_bytes(f->j) > 128 << 10);
    fixture_commit(f, 1, (1 << 20) - (70 << 10));
    assert_true(journal_bytes(f->j) <= 1 << 20);
    fixture_check(f, f->j, 39, 41);
    bytes_agree(f, 0);
}

/* Under the limit of today the files that are there leave no room. */
static void a_lower_limit_than_before_stops_nobody(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_commit(f, 1, 16000);
    fixture_commit(f, 1, 3 << 20); /* in a segment of its own, with room left */
    fixture_commit(f, 1, 16000);
    uint64_t before = journal_bytes(f->j);
    f->options.limit = 1 << 20;
    fixture_reopen(f);
    for (int i = 0; i < 20; i++)
        fixture_commit(f, 1, 16000);
    assert_true(journal_bytes(f->j) <= before + (1 << 20));
    fixture_check(f, f->j, 0, f->n);
    journal_trim(f->j, journal_end(f->j) - 1);
    assert_true(journal_bytes(f->j) <= 1 << 20);
    int err;
    while (!(err = fixture_try(f, 1, 10000)))
        assert_true(journal_bytes(f->j) <= 1 << 20);
    assert_int_equal(err, -EDQUOT);
    journal_abandon(f->j);
    bytes_agree(f, 0);
    fixture_reopen(f);
    fixture_check(f, f->j, f->n - 10, f->n);
}

/* ---- Room for a frame that nobody has yet ---- */

static void room_is_looked_for_without_a_frame(void **state)
{
    struct fixture *f = *state;
    f->options.limit = 1 << 20;
    fixture_open(f);
    assert_int_equal(journal_reserve(f->j, 100000, &f->error), 0);
    assert_int_equal(journal_end(f->j), 1);
    int err;
    while (!(err = fixture_try(f, 1, 10000)))
        ;
    assert_int_equal(err, -EDQUOT);
    assert_int_equal(journal_pending(f->j), 10000);
    journal_abandon(f->j);
    assert_int_equal(journal_reserve(f->j, 10000, &f->error), -EDQUOT);
    journal_trim(f->j, journal_end(f->j) - 1);
    assert_int_equal(journal_reserve(f->j, 100000, &f->error), 0);
    assert_true(journal_bytes(f->j) <= 1 << 20);
    bytes_agree(f, 0);
    fixture_commit(f, 1, 100000);
    fixture_reopen(f);
    fixture_check(f, f->j, f->n - 2, f->n);
}

/* ---- Files that are moved, removed, replaced ---- */

static void nothing_is_written_or_trimmed_while_it_is_not_there(void **state)
{
    struct fixture *f = *state;
    static const char *const move[][2] = {
        {"mv journal away", "mv away journal"},
        {"mv journal away; cp -a away journal", "rm -r journal; mv away journal"},
        {"mv journal/00000003.journal away", "mv away journal/00000003.journal"},
        {"cp journal/00000003.journal away; mv journal/00000003.journal back; mv away "
         "journal/00000003.journal",
         "mv back journal/00000003.journal"},
    };
    fixture_open(f);
    for (int i = 0; i < 10; i++) /* four a segment */
        fixture_commit(f, 1, 16000);
    for (size_t i = 0; i < sizeof(move) / sizeof(move[0]); i++) {
        assert_int_equal(journal_check(f->j, &f->error), 0);
        fixture_run("cd '%s'; %s", f->root, move[i][0]);
        assert_int_equal(journal_check(f->j, &f->error), -ESTALE);
        usleep(JOURNAL_CHECK_US);
        assert_int_equal(fixture_try(f, 1, 16000), -ESTALE);
        assert_non_null(strstr(f->error.text, "was moved, removed or replaced"));
        assert_int_equal(journal_reserve(f->j, 10, &f->error), -ESTALE);
        journal_abandon(f->j); /* it is certainly not on disk */
        journal_trim(f->j, 9);
        assert_int_equal(journal_first(f->j), 1);
        fixture_run("cd '%s'; %s", f->root, move[i][1]);
        fixture_check(f, f->j, 0, f->n);
    }
    fixture_commit(f, 1, 16000);
    fixture_reopen(f);
    fixture_check(f, f->j, 0, f->n);
}

/* What nobody needs any more may be gone. */
static void a_segment_that_was_removed_holds_no_trimming_up(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    for (int i = 0; i < 9; i++) /* four a segment */
        fixture_commit(f, 1, 16000);
    fixture_run("rm '%s/00000001.journal'", f->folder);
    journal_trim(f->j, 9);
    assert_int_equal(journal_first(f->j), 9);
    bytes_agree(f, 64 << 10);
    fixture_commit(f, 1, 16000);
    fixture_reopen(f);
    fixture_check(f, f->j, 8, f->n);
}

/* ---- Spares that are made ---- */

static void a_spare_is_written_before_it_is_needed(void **state)
{
    struct fixture *f = *state;
    int64_t deadline = clock_monotonic_us() + WAIT_US;
    f->options.segment_size = 4 << 20;
    fixture_open(f);
    while (f->n < 61) /* of 64 KiB, up to 15/16 of the segment */
        fixture_commit(f, 1, 65000);
    ino_t spare = 0;
    while (!(spare = inode_of(f->folder, "spare-1"))) {
        assert_true(clock_monotonic_us() < deadline);
        sched_yield();
    }
    assert_int_equal(fixture_files(f->folder, "", NULL), 4); /* and lock and hold */
    bytes_agree(f, 0);
    for (int i = 0; i < 10; i++)
        fixture_commit(f, 1, 65000);
    assert_int_equal(inode_of(f->folder, "00000002.journal"), spare);
    fixture_reopen(f);
    fixture_check(f, f->j, 0, f->n);
}

static void no_room_for_a_spare_is_no_error(void **state)
{
    struct fixture *f = *state;
    f->options.limit = 3 << 20;
    f->options.segment_size = 1 << 20;
    fixture_open(f);
    while (fixture_try(f, 1, 30000) == 0)
        ;
    assert_true(f->n > 80);
    assert_true(journal_bytes(f->j) <= 3 << 20);
    fixture_reopen(f);
    fixture_check(f, f->j, 0, f->n);
}

/* What their files hold would lie in segments that no other tells the salt of. */
static void beginning_anew_keeps_no_spares(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    for (int i = 0; i < 20; i++)
        fixture_commit(f, 1, 16000);
    journal_trim(f->j, 20);
    uint64_t bytes = journal_bytes(f->j);
    assert_true(bytes > 64 << 10); /* spares and the last segment */
    assert_int_equal(journal_restart(f->j, 100), 0);
    assert_int_equal(journal_bytes(f->j), 0);
    bytes_agree(f, 0);
}

/* ---- Several threads ---- */

struct follower {
    struct fixture *f;
    _Atomic size_t read; /* frames */
    size_t frames;
    bool copy;
};

/* Reads what the other thread commits, and trims behind itself. */
static void *follow(void *ctx)
{
    struct follower *l = ctx;
    struct journal *j = l->f->j;
    struct journal_reader *r = NULL;
    struct journal_frame frame;
    uint64_t expected = 1;
    int64_t deadline = clock_monotonic_us() + 4 * WAIT_US;
    if (journal_reader_new(j, 1, &r, NULL))
        return "no reader";
    while (l->read < l->frames) {
        int got = journal_reader_next(r, &frame, NULL);
        if (got < 0 || clock_monotonic_us() > deadline)
            return got < 0 ? "cannot read" : "too slow";
        if (got == 0) {
            sched_yield();
            continue;
        }
        if (frame.n == 0)
            continue;
        if (frame.first != expected)
            return "a position is missing";
        expected += frame.n;
        l->read++;
        if (l->read % 16 == 0)
            journal_trim(j, expected);
    }
    journal_reader_free(r);
    return NULL;
}

static void one_writes_one_reads_and_trims(void **state)
{
    struct fixture *f = *state;
    struct follower l = {.f = f, .frames = 3000};
    pthread_t thread;
    void *wrong;
    f->options.begin_segment = fixture_begin;
    f->options.segment_size = 256 << 10;
    fixture_open(f);
    assert_int_equal(pthread_create(&thread, NULL, follow, &l), 0);
    for (size_t i = 0; i < l.frames; i++)
        fixture_commit(f, 1 + (uint32_t)(i % 3), random_below(9000));
    assert_int_equal(pthread_join(thread, &wrong), 0);
    if (wrong)
        fail_msg("%s", (char *)wrong);
    assert_true(journal_first(f->j) > 1000);
    fixture_reopen(f);
    fixture_check(f, f->j, f->n - 10, f->n);
}

/* ---- From outside ---- */

static void verify_says_what_there_is(void **state)
{
    struct fixture *f = *state;
    struct journal_report report;
    uint64_t blocks = 0;
    assert_int_equal(journal_verify(f->folder, &report, &f->error), -ENOENT);
    fixture_open(f);
    assert_int_equal(journal_verify(f->folder, &report, &f->error), 0);
    assert_int_equal(report.segments, 0);
    for (size_t i = 0; i < 30; i++) {
        fixture_commit(f, 2, i * 1000);
        blocks += (64 + i * 1000 + 4095) / 4096;
    }
    assert_int_equal(journal_verify(f->folder, &report, &f->error), 0);
    assert_int_equal(report.first, 1);
    assert_int_equal(report.end, 61);
    assert_int_equal(report.frames, 30);
    assert_int_equal(report.bytes, blocks * 4096);
    assert_int_equal(report.segments, fixture_files(f->folder, ".journal", NULL));
    assert_int_equal(report.damaged, 0);
    assert_int_equal(report.torn, 0);
}

static void open_copy(struct fixture *f, const char *to, struct fixture *copy)
{
    *copy = *f;
    copy->options.folder = to;
    fixture_open(copy);
}

static void a_copy_holds_what_was_committed(void **state)
{
    struct fixture *f = *state, copy;
    char to[96];
    fixture_open(f);
    for (int i = 0; i < 22; i++)
        fixture_commit(f, 1, 16000);
    snprintf(to, sizeof(to), "%s/copy", f->root);
    assert_int_equal(journal_copy(f->folder, 7, to, &f->error), 0);
    open_copy(f, to, &copy);
    assert_int_equal(journal_first(copy.j), 5);
    assert_int_equal(journal_end(copy.j), 23);
    fixture_check(&copy, copy.j, 6, 22);
    fixture_commit(&copy, 1, 16000); /* it goes on */
    fixture_reopen(&copy);
    fixture_check(&copy, copy.j, 6, 23);
    fixture_close(&copy);
    assert_int_equal(journal_copy(f->folder, 1, to, &f->error), -EEXIST);
    snprintf(to, sizeof(to), "%s/none", f->root);
    assert_int_equal(journal_copy(to, 1, to, &f->error), -ENOENT);
}

/* A pass over a folder may miss a file that gets its name meanwhile, and yet see the next one. */
static void a_segment_that_a_list_misses_is_in_the_copy(void **state)
{
    static const char *const missed[] = {"00000001.journal", "00000002.journal",
                                         "00000004.journal"};
    struct fixture *f = *state;
    struct journal_report report;
    char to[96];
    fixture_open(f);
    for (int i = 0; i < 22; i++) /* six segments */
        fixture_commit(f, 1, 16000);
    for (size_t i = 0; i < sizeof(missed) / sizeof(missed[0]); i++) {
        snprintf(to, sizeof(to), "%s/copy%zu", f->root, i);
        fault.missed = missed[i];
        assert_int_equal(journal_copy(f->folder, 1, to, &f->error), 0);
        assert_int_equal(fixture_files(to, ".journal", NULL), 6);
        fault.missed = missed[i];
        assert_int_equal(journal_verify(f->folder, &report, &f->error), 0);
        assert_null(fault.missed);
        assert_int_equal(report.segments, 6);
        assert_int_equal(report.damaged, 0);
    }
}

static void a_segment_that_is_not_there_is_damage_to_a_copy(void **state)
{
    struct fixture *f = *state;
    struct journal_report report;
    char to[96];
    fixture_open(f);
    for (int i = 0; i < 22; i++)
        fixture_commit(f, 1, 16000);
    fixture_run("rm %s/00000003.journal", f->folder);
    snprintf(to, sizeof(to), "%s/copy", f->root);
    assert_int_equal(journal_copy(f->folder, 1, to, &f->error), 0);
    assert_int_equal(fixture_files(to, ".journal", NULL), 5);
    assert_int_equal(journal_verify(to, &report, &f->error), 0);
    assert_int_equal(report.segments, 5);
    assert_int_equal(report.damaged, 1);
    assert_int_equal(report.end, 23);
}

/* Copies and verifies again and again, while frames come and go. */
static void *look_from_outside(void *ctx)
{
    struct follower *l = ctx;
    struct error error = {""};
    struct journal_report report;
    char to[128];
    for (int i = 0; l->read < l->frames; i++) {
        snprintf(to, sizeof(to), "%s/copy%d", l->f->root, i);
        if (journal_copy(l->f->folder, 1, to, &error))
            return strdup(error.text);
        if (journal_verify(to, &report, &error) || report.damaged || report.torn)
            return strdup(error.text);
        if (journal_verify(l->f->folder, &report, &error) || report.damaged)
            return strdup(error.text);
        fixture_run("rm -rf '%s'", to);
    }
    return NULL;
}

static void a_journal_in_use_can_be_copied_and_verified(void **state)
{
    struct fixture *f = *state;
    struct follower l = {.f = f, .frames = 3000};
    pthread_t thread;
    void *wrong;
    f->options.segment_size = 256 << 10;
    fixture_open(f);
    fixture_commit(f, 1, 1);
    assert_int_equal(pthread_create(&thread, NULL, look_from_outside, &l), 0);
    for (; l.read < l.frames; l.read++) {
        fixture_commit(f, 1, random_below(9000));
        if (l.read % 16 == 0)
            journal_trim(f->j, journal_end(f->j) - 10);
    }
    assert_int_equal(pthread_join(thread, &wrong), 0);
    if (wrong)
        fail_msg("%s", (char *)wrong);
    fixture_check(f, f->j, f->n - 10, f->n);
}

/* ---- Killed ---- */

struct shared {
    _Atomic uint64_t acknowledged, trimmed; /* positions */
};

/* Commits until it is killed. The size of a frame depends on its position only. */
static void commit_for_ever(struct fixture *f, struct shared *s)
{
    uint64_t first;
    if (journal_open(&f->options, NULL, &f->j, &f->error))
        _exit(1);
    for (;;) {
        uint64_t next = journal_end(f->j);
        uint32_t n = 1 + (uint32_t)(next % 3);
        size_t size = (size_t)(next * 7919 % 20000) + 1;
        char *room = journal_room(f->j, size);
        if (!room)
            _exit(1);
        fixture_fill(room, next, size);
        journal_added(f->j, size);
        if (journal_commit(f->j, n, &first, &f->error) || first != next)
            _exit(1);
        s->acknowledged = first + n;
        if (next % 16 == 0) {
            s->trimmed = next - next / 8 % 64;
            journal_trim(f->j, s->trimmed);
        }
    }
}

static void check_killed(struct fixture *f, const struct shared *s)
{
    struct journal_reader *r;
    struct journal_frame frame;
    fixture_open(f);
    uint64_t end = journal_end(f->j), expected = 0;
    assert_in_range(end, s->acknowledged, s->acknowledged + 3);
    assert_true(s->trimmed == 0 || journal_first(f->j) <= s->trimmed);
    assert_int_equal(journal_reader_new(f->j, 1, &r, &f->error), 0);
    int got;
    while ((got = journal_reader_next(r, &frame, &f->error)) == 1) {
        if (fixture_is_begin(&frame))
            continue;
        struct made m = {frame.first, 1 + (uint32_t)(frame.first % 3),
                         (size_t)(frame.first * 7919 % 20000) + 1};
        fixture_check_frame(&m, &frame);
        assert_true(expected == 0 || frame.first == expected);
        expected = frame.first + frame.n;
    }
    if (got < 0)
        fail_msg("%s", f->error.text);
    assert_true(expected == end || s->acknowledged == 0);
    journal_reader_free(r);
    fixture_close(f);
}

static void killed_at_any_moment_it_keeps_what_it_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(s, MAP_FAILED);
    f->options.begin_segment = fixture_begin;
    f->options.segment_size = 128 << 10;
    for (int round = 0; round < 60; round++) {
        uint64_t from = s->acknowledged, commits = random_below(60);
        int64_t deadline = clock_monotonic_us() + WAIT_US;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            commit_for_ever(f, s);
        while (s->acknowledged < from + commits && clock_monotonic_us() < deadline)
            sched_yield();
        int status;
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* it did not give up by itself */
        check_killed(f, s);
    }
    assert_true(s->acknowledged > 1000);
    munmap(s, sizeof(*s));
}

int main(void)
{
    logger_setup(LOGGER_ERROR, false);
#define on_disk(test) cmocka_unit_test_setup_teardown(test, fixture_setup, teardown)
#define in_memory(test)                                                                \
    cmocka_unit_test_setup_teardown(test, fixture_setup_memory, teardown)
    const struct CMUnitTest tests[] = {
        in_memory(a_lock_that_cannot_be_written_is_an_error),
        in_memory(a_signal_does_not_keep_anybody_from_waiting_for_a_lock),
        in_memory(no_room_on_disk_leaves_nothing_of_the_frame),
        in_memory(no_room_within_a_frame_leaves_nothing_of_it),
        in_memory(what_no_room_left_of_a_frame_shows_no_frames),
        in_memory(a_frame_that_may_be_on_disk_is_committed_again),
        in_memory(no_error_lets_a_frame_be_abandoned_that_may_be_on_disk),
        in_memory(nor_does_a_beginning_that_fails),
        in_memory(a_new_segment_that_fails_is_begun_again),
        on_disk(segments_grow_up_to_their_size),
        in_memory(every_segment_begins_with_what_it_is_to_begin_with),
        in_memory(segments_used_again_never_show_what_they_held),
        in_memory(a_segment_is_kept_as_long_as_one_position_is_needed),
        in_memory(what_is_to_stay_stays_as_long_as_it_is_the_newest),
        on_disk(a_reader_keeps_its_segments),
        on_disk(a_reader_of_an_empty_journal_sees_what_comes),
        in_memory(trimming_waits_while_somebody_copies),
        in_memory(at_the_limit_nothing_is_taken_until_something_is_trimmed),
        in_memory(spares_are_given_up_for_a_frame),
        in_memory(a_lower_limit_than_before_stops_nobody),
        in_memory(room_is_looked_for_without_a_frame),
        in_memory(nothing_is_written_or_trimmed_while_it_is_not_there),
        in_memory(a_segment_that_was_removed_holds_no_trimming_up),
        on_disk(a_spare_is_written_before_it_is_needed),
        in_memory(no_room_for_a_spare_is_no_error),
        in_memory(beginning_anew_keeps_no_spares),
        on_disk(one_writes_one_reads_and_trims),
        in_memory(verify_says_what_there_is),
        in_memory(a_copy_holds_what_was_committed),
        in_memory(a_segment_that_a_list_misses_is_in_the_copy),
        in_memory(a_segment_that_is_not_there_is_damage_to_a_copy),
        on_disk(killed_at_any_moment_it_keeps_what_it_acknowledged),
        on_disk(a_journal_in_use_can_be_copied_and_verified),
    };
    return cmocka_run_group_tests_name("segments", tests, NULL, NULL);
}
