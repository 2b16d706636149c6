/* SPDX-License-Identifier: Apache-2.0
 *
 * What was committed is there after reopening, whatever a crash did to what was not.
 */
#include "base/logger.h"
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST "00000001.journal"

static void committed_frames_come_back(void **state)
{
    static const size_t sizes[] = {0,     1,     63,    4031,    4032,    4033,
                                   40000, 65472, 65473, 3000000, 5000000, 17};
    struct fixture *f = *state;
    fixture_open(f);
    assert_int_equal(journal_first(f->j), 1);
    assert_int_equal(journal_end(f->j), 1);
    for (size_t i = 0; i < 12; i++) {
        fixture_commit(f, (uint32_t)(i % 4) + 1, sizes[i]);
        fixture_check(f, f->j, 0, f->n);
        if (i % 3 == 0)
            fixture_reopen(f);
        fixture_check(f, f->j, i / 2, f->n);
    }
    assert_int_equal(journal_first(f->j), 1);
    assert_int_equal(journal_end(f->j), f->made[11].first + f->made[11].n);
}

static void a_frame_without_o_direct_is_the_same(void **state)
{
    struct fixture *f = *state;
    f->options.buffered = true;
    committed_frames_come_back(state);
}

static void frames_without_positions_are_kept_in_place(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    for (uint32_t i = 0; i < 50; i++)
        fixture_commit(f, i % 2, 5000);
    fixture_check(f, f->j, 0, 50);
    fixture_reopen(f);
    assert_int_equal(journal_end(f->j), 26);
    fixture_check(f, f->j, 0, 50);
}

static uint64_t number(const char *bytes, size_t at, size_t size)
{
    uint64_t v = 0;
    for (size_t i = size; i-- > 0;)
        v = v << 8 | (unsigned char)bytes[at + i];
    return v;
}

static void a_frame_lies_on_disk_as_documented(void **state)
{
    struct fixture *f = *state;
    size_t size;
    fixture_open(f);
    assert_int_equal(journal_restart(f->j, 1000), 0);
    fixture_commit(f, 3, 5000);
    fixture_commit(f, 1, 5);
    char *bytes = fixture_read(f->folder, FIRST, &size), *second = bytes + 8192;
    assert_memory_equal(bytes, "WRF2", 4);
    assert_int_equal(number(bytes, 4, 4), fixture_crc(bytes + 8, 56));
    assert_int_equal(number(bytes, 8, 8), 1);     /* segment */
    assert_int_equal(number(bytes, 16, 8), 1000); /* first */
    assert_int_equal(number(bytes, 24, 8), 5000); /* size */
    assert_int_equal(number(bytes, 32, 4), 3);    /* n */
    assert_int_equal(number(bytes, 36, 4), fixture_crc(bytes + 64, 5000));
    assert_int_equal(number(bytes, 40, 4), 1); /* begins a segment */
    for (size_t i = 44; i < 56; i++)
        assert_int_equal(bytes[i], 0);
    assert_true(number(bytes, 56, 8) != 0); /* salt */
    for (size_t i = 5064; i < 8192; i++)
        assert_int_equal(bytes[i], 0);
    assert_memory_equal(second, "WRF2", 4);
    assert_int_equal(number(second, 16, 8), 1003);
    assert_int_equal(number(second, 40, 4), 0);
    assert_true(number(second, 56, 8) == number(bytes, 56, 8));
    free(bytes);
}

static void an_empty_journal_begins_where_it_is_told(void **state)
{
    struct fixture *f = *state;
    f->options.begin_segment = fixture_begin;
    fixture_open(f);
    assert_int_equal(journal_restart(f->j, 0), -EINVAL);
    assert_int_equal(journal_restart(f->j, 500), 0);
    assert_int_equal(journal_first(f->j), 500);
    assert_int_equal(journal_end(f->j), 500);
    fixture_commit(f, 0, 100); /* no positions: still empty */
    fixture_reopen(f);
    assert_int_equal(journal_restart(f->j, 900), 0);
    f->n = 0;
    fixture_commit(f, 2, 100);
    assert_int_equal(journal_restart(f->j, 901), -EINVAL);
    fixture_reopen(f);
    assert_int_equal(journal_end(f->j), 902);
    fixture_check(f, f->j, 0, 1);
}

static void an_abandoned_frame_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_commit(f, 1, 100);
    assert_non_null(journal_room(f->j, 50));
    journal_added(f->j, 50);
    assert_int_equal(journal_pending(f->j), 50);
    journal_abandon(f->j);
    assert_int_equal(journal_pending(f->j), 0);
    assert_null(journal_room(f->j, JOURNAL_FRAME_MAX + 1));
    fixture_commit(f, 1, 200);
    fixture_reopen(f);
    fixture_check(f, f->j, 0, 2);
}

static void a_second_process_is_kept_out(void **state)
{
    struct fixture *f = *state;
    struct journal *other = NULL;
    struct error error;
    char pid[32];
    fixture_open(f);
    assert_int_equal(journal_open(&f->options, NULL, &other, &error), -EBUSY);
    assert_null(other);
    snprintf(pid, sizeof(pid), "(process %ld)", (long)getpid());
    assert_non_null(strstr(error.text, pid));
    assert_non_null(strstr(error.text, f->folder));
}

/* ---- Torn tails ---- */

/* Two frames, and a third of two blocks; its bytes begin at block 3. */
static char *three_frames(struct fixture *f, size_t *ret_size)
{
    fixture_open(f);
    fixture_commit(f, 2, 100);
    fixture_commit(f, 1, 5000);
    fixture_commit(f, 3, 5000);
    fixture_close(f);
    return fixture_read(f->folder, FIRST, ret_size);
}

static const size_t third = (size_t)3 * 4096, third_end = (size_t)3 * 4096 + 64 + 5000;

/* Opens what is there: the first two frames, and never the third. Sometimes goes on behind them. */
static void check_two(struct fixture *f, size_t cut)
{
    f->n = 3;
    fixture_open(f);
    assert_int_equal(journal_end(f->j), 4);
    fixture_check(f, f->j, 0, 2);
    if (cut % 101 == 0) {
        f->n = 2;
        fixture_commit(f, 5, 10 + cut % 3 * 4000);
        fixture_reopen(f);
        fixture_check(f, f->j, 0, 3);
        assert_int_equal(journal_end(f->j), 9);
    }
    fixture_close(f);
    if (cut % 101 == 0)
        fixture_run("rm -f %s/0000000[2-9].journal", f->folder);
}

static void a_frame_torn_at_any_byte_is_cut(void **state)
{
    struct fixture *f = *state;
    size_t size;
    char *good = three_frames(f, &size), *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t cut = third; cut < third_end; cut++) {
        fixture_write(f->folder, FIRST, good, cut);
        struct made kept = f->made[2];
        check_two(f, cut);
        f->made[2] = kept;
        memcpy(bytes, good, size);
        memset(bytes + cut, 0, third_end - cut);
        if (memcmp(bytes, good, size) != 0) { /* its last bytes may be zero anyway */
            fixture_write(f->folder, FIRST, bytes, size);
            check_two(f, cut);
            f->made[2] = kept;
        }
        memcpy(bytes, good, size);
        bytes[cut] = (char)(bytes[cut] ^ (1 << cut % 8));
        fixture_write(f->folder, FIRST, bytes, size);
        check_two(f, cut);
        f->made[2] = kept;
    }
    free(bytes);
    free(good);
}

/* What a crash leaves when the disk wrote the second block first. */
static void a_frame_without_its_first_block_is_cut(void **state)
{
    struct fixture *f = *state;
    size_t size;
    char *bytes = three_frames(f, &size);
    memset(bytes + third, 0, 4096);
    fixture_write(f->folder, FIRST, bytes, size);
    check_two(f, 0);
    free(bytes);
}

static void torn_bytes_are_counted(void **state)
{
    struct fixture *f = *state;
    size_t size;
    char *bytes = three_frames(f, &size);
    struct journal_report report;
    struct metrics *m;
    struct buffer out = {0};
    bytes[third_end - 1] ^= 1;
    fixture_write(f->folder, FIRST, bytes, size);
    assert_int_equal(journal_verify(f->folder, &report, &f->error), 0);
    assert_int_equal(report.torn, 8192);
    assert_int_equal(report.damaged, 0);
    assert_int_equal(metrics_new(&m), 0);
    assert_int_equal(journal_open(&f->options, m, &f->j, &f->error), 0);
    metrics_print(m, &out);
    assert_non_null(strstr(buffer_text(&out),
                           "weir_journal_torn_bytes_total{stream=\"trades\"} 8192\n"));
    fixture_reopen(f); /* it was cut once and for all */
    assert_int_equal(journal_verify(f->folder, &report, &f->error), 0);
    assert_int_equal(report.torn, 0);
    assert_int_equal(report.frames, 2);
    buffer_free(&out);
    metrics_free(m);
    free(bytes);
}

/* ---- Damage ---- */

static void damage_in_the_middle_is_told_with_its_positions(void **state)
{
    struct fixture *f = *state;
    struct error error;
    size_t size;
    char *good = three_frames(f, &size), *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t at = 4096; at < 4096 + 64 + 5000; at += at < 4096 + 64 ? 1 : 7) {
        memcpy(bytes, good, size);
        bytes[at] = (char)(bytes[at] ^ 0x10);
        fixture_write(f->folder, FIRST, bytes, size);
        assert_int_equal(journal_open(&f->options, NULL, &f->j, &error), -EBADMSG);
        assert_non_null(strstr(error.text, FIRST ", offset 4096: damaged; positions 3 "
                                                 "to 3 are lost"));
        assert_null(f->j);
    }
    f->options.skip_damaged = true;
    fixture_open(f);
    assert_int_equal(journal_end(f->j), 7);
    f->made[1] = f->made[2];
    fixture_check(f, f->j, 0, 2);
    free(bytes);
    free(good);
}

static void flip(struct fixture *f, const char *name, size_t at)
{
    size_t size;
    char *bytes = fixture_read(f->folder, name, &size);
    bytes[at] = (char)(bytes[at] ^ 4);
    fixture_write(f->folder, name, bytes, size);
    free(bytes);
}

static int read_all(struct fixture *f, uint64_t *ret_last)
{
    struct journal_reader *r;
    struct journal_frame frame;
    int got;
    assert_int_equal(journal_reader_new(f->j, 1, &r, &f->error), 0);
    while ((got = journal_reader_next(r, &frame, &f->error)) == 1)
        *ret_last = frame.first + frame.n - 1;
    if (got < 0) /* it says so again */
        assert_int_equal(journal_reader_next(r, &frame, &f->error), got);
    journal_reader_free(r);
    return got;
}

/* Four frames of 16 KiB a segment; segment 2 has positions 5 to 8. */
static void a_damaged_segment_in_the_middle_is_told_by_the_reader(void **state)
{
    static const struct {
        size_t at;
        const char *text;
        size_t from, frames;
    } cases[] = {
        {100, "00000002.journal, offset 0: damaged; positions 5 to 5 are lost", 4, 1},
        {16484, "00000002.journal, offset 16384: damaged; positions 6 to 6", 5, 1},
        {49252, "00000002.journal, offset 49152: damaged; positions 8 to 8", 7, 1},
    };
    struct fixture *f = *state;
    struct journal_report report;
    uint64_t last;
    fixture_open(f);
    for (int i = 0; i < 14; i++)
        fixture_commit(f, 1, 16000);
    for (size_t i = 0; i < 3; i++) {
        f->options.skip_damaged = false;
        fixture_close(f);
        flip(f, "00000002.journal", cases[i].at);
        fixture_open(f);
        assert_int_equal(read_all(f, &last), -EBADMSG);
        assert_int_equal(last, cases[i].from);
        assert_non_null(strstr(f->error.text, cases[i].text));
        assert_int_equal(journal_verify(f->folder, &report, &f->error), 0);
        assert_int_equal(report.damaged, 1);
        assert_int_equal(report.frames, 13);
        assert_int_equal(report.segments, 4);
        assert_int_equal(report.end, 15);
        assert_non_null(strstr(f->error.text, cases[i].text));
        f->options.skip_damaged = true;
        fixture_reopen(f);
        assert_int_equal(read_all(f, &last), 0);
        assert_int_equal(last, 14);
        fixture_check(f, f->j, 8, 14);
        fixture_close(f);
        flip(f, "00000002.journal", cases[i].at);
        fixture_open(f);
    }
}

static void a_missing_segment_is_damage(void **state)
{
    struct fixture *f = *state;
    uint64_t last;
    fixture_open(f);
    for (int i = 0; i < 14; i++)
        fixture_commit(f, 1, 16000);
    fixture_close(f);
    fixture_run("rm %s/00000002.journal", f->folder);
    assert_int_equal(journal_open(&f->options, NULL, &f->j, &f->error), -EBADMSG);
    assert_non_null(strstr(f->error.text, "segments 00000002 to 00000002 are missing"));
    f->options.skip_damaged = true;
    fixture_open(f);
    assert_int_equal(read_all(f, &last), 0);
    assert_int_equal(last, 14);
    f->options.skip_damaged = false;
}

/* ---- Clients decide what is in a payload ---- */

#define FORGED 5000 /* position */

static void commit_forged(struct fixture *f, size_t blocks, uint64_t segment)
{
    uint64_t first = journal_end(f->j), got;
    fixture_add_forged(f, blocks, segment, FORGED);
    assert_int_equal(journal_commit(f->j, 1, &got, &f->error), 0);
    assert_int_equal(got, first);
    f->made[f->n++] = (struct made){first, 1, blocks * JOURNAL_BLOCK - 64};
}

/* A payload may hold what looks like frames of its segment: they are not taken for any, even if the frame
 * around them is torn, nor when it has been cut. */
static void a_frame_within_a_payload_is_no_frame(void **state)
{
    struct fixture *f = *state;
    struct journal_report report;
    size_t size;
    fixture_open(f);
    fixture_commit(f, 1, 100);
    commit_forged(f, 8, 1);
    fixture_close(f);
    char *bytes = fixture_read(f->folder, FIRST, &size);
    bytes[4096 + 64] ^= 1;
    fixture_write(f->folder, FIRST, bytes, size);
    free(bytes);
    fixture_open(f);
    assert_int_equal(journal_end(f->j), 2);
    fixture_reopen(f);
    assert_int_equal(journal_end(f->j), 2);
    fixture_check(f, f->j, 0, 1);
    assert_int_equal(journal_verify(f->folder, &report, &f->error), 0);
    assert_int_equal(report.end, 2);
    assert_int_equal(report.damaged, 0);
}

static void a_torn_frame_is_cut_to_its_end(void **state)
{
    struct fixture *f = *state;
    size_t size;
    char *bytes = three_frames(f, &size);
    bytes[third_end - 1] ^= 1;
    fixture_write(f->folder, FIRST, bytes, size);
    free(bytes);
    fixture_open(f);
    bytes = fixture_read(f->folder, FIRST, &size);
    for (size_t at = third; at < third_end; at++)
        assert_int_equal(bytes[at], 0);
    free(bytes);
}

/* After a crash the disk may have the blocks of a payload, but not that with the head. */
static void a_payload_without_its_head_shows_no_frames(void **state)
{
    struct fixture *f = *state;
    size_t size;
    fixture_open(f);
    fixture_commit(f, 1, 100);
    commit_forged(f, 8, 1);
    fixture_close(f);
    char *bytes = fixture_read(f->folder, FIRST, &size);
    memset(bytes + 4096, 0, 4096);
    fixture_write(f->folder, FIRST, bytes, size);
    free(bytes);
    fixture_open(f);
    assert_int_equal(journal_end(f->j), 2);
    fixture_check(f, f->j, 0, 1);
}

/* A crash between the name of a segment and its first frame: the file has what it had before. */
static void a_file_used_again_shows_no_frames_of_its_former_payloads(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    fixture_commit(f, 1, 100);
    commit_forged(f, 8, 2);
    fixture_close(f);
    fixture_run("cp %s/00000001.journal %s/00000002.journal", f->folder, f->folder);
    fixture_open(f);
    assert_int_equal(journal_end(f->j), 3);
    fixture_commit(f, 1, 100);
    fixture_reopen(f);
    assert_int_equal(journal_end(f->j), 4);
}

/* What the first head of a segment would say is known from another segment. */
static void a_payload_behind_a_damaged_first_head_shows_no_frames(void **state)
{
    struct fixture *f = *state;
    struct journal_report report;
    fixture_open(f);
    commit_forged(f, 8, 1);
    for (int i = 0; i < 5; i++)
        fixture_commit(f, 1, 16000);
    fixture_close(f);
    flip(f, FIRST, 20);
    f->options.skip_damaged = true;
    fixture_open(f);
    fixture_check(f, f->j, 1, 6);
    assert_int_equal(journal_verify(f->folder, &report, &f->error), 0);
    assert_int_equal(report.frames, 5);
    assert_int_equal(report.end, 7);
    assert_int_equal(report.damaged, 1);
}

/* ---- The salt ---- */

static uint64_t salt_at(struct fixture *f, const char *name, size_t offset)
{
    size_t size;
    char *bytes = fixture_read(f->folder, name, &size);
    uint64_t salt = number(bytes, offset + 56, 8);
    free(bytes);
    return salt;
}

static void all_frames_of_a_journal_have_one_salt_and_no_two_journals(void **state)
{
    struct fixture *f = *state;
    fixture_open(f);
    for (int i = 0; i < 5; i++) /* four a segment */
        fixture_commit(f, 1, 16000);
    uint64_t salt = salt_at(f, FIRST, 0);
    assert_true(salt != 0);
    assert_true(salt == salt_at(f, FIRST, 16384));
    assert_true(salt == salt_at(f, "00000002.journal", 0));
    fixture_reopen(f);
    fixture_commit(f, 1, 100);
    assert_true(salt == salt_at(f, "00000002.journal", 16384));
    assert_int_equal(journal_restart(f->j, 100), 0);
    fixture_commit(f, 1, 100);
    assert_true(salt == salt_at(f, "00000003.journal", 0));
    fixture_close(f);
    fixture_run("rm %s/*.journal", f->folder);
    fixture_open(f);
    fixture_commit(f, 1, 100);
    assert_true(salt != salt_at(f, FIRST, 0));
}

/* If no segment's first head can be read, the next one tells the salt. */
static void a_damaged_first_head_costs_its_own_frame_only(void **state)
{
    struct fixture *f = *state;
    size_t size;
    free(three_frames(f, &size));
    uint64_t salt = salt_at(f, FIRST, 4096);
    flip(f, FIRST, 20);
    assert_int_equal(journal_open(&f->options, NULL, &f->j, &f->error), -EBADMSG);
    assert_non_null(
        strstr(f->error.text, FIRST ", offset 0: damaged; positions before 3"));
    f->options.skip_damaged = true;
    fixture_open(f);
    fixture_commit(f, 1, 100); /* in a segment of its own */
    fixture_reopen(f);
    fixture_check(f, f->j, 1, 4);
    assert_true(salt == salt_at(f, "00000002.journal", 0));
}

static void a_journal_of_another_version_is_refused_as_it_is(void **state)
{
    struct fixture *f = *state;
    struct journal_report report;
    size_t size, size_after;
    char to[96], *bytes = three_frames(f, &size);
    memcpy(bytes, "WRF1", 4);
    memcpy(bytes + 4096, "WRF1", 4);
    memcpy(bytes + third, "WRF1", 4);
    fixture_write(f->folder, FIRST, bytes, size);
    f->options.skip_damaged = true;
    assert_int_equal(journal_open(&f->options, NULL, &f->j, &f->error),
                     -EPROTONOSUPPORT);
    assert_non_null(strstr(f->error.text, f->folder));
    assert_non_null(strstr(f->error.text, "another version of weir"));
    f->error.text[0] = 0;
    assert_int_equal(journal_verify(f->folder, &report, &f->error), -EPROTONOSUPPORT);
    assert_non_null(strstr(f->error.text, "another version of weir"));
    snprintf(to, sizeof(to), "%s/copy", f->root);
    assert_int_equal(journal_copy(f->folder, 1, to, &f->error), -EPROTONOSUPPORT);
    char *after = fixture_read(f->folder, FIRST, &size_after);
    assert_int_equal(size_after, size);
    assert_memory_equal(after, bytes, size);
    free(after);
    free(bytes);
}

int main(void)
{
#define on_disk(test)                                                                  \
    cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define in_memory(test)                                                                \
    cmocka_unit_test_setup_teardown(test, fixture_setup_memory, fixture_teardown)
    logger_setup(LOGGER_ERROR, false); /* of thousands of torn frames */
    const struct CMUnitTest tests[] = {
        on_disk(committed_frames_come_back),
        on_disk(a_frame_without_o_direct_is_the_same),
        in_memory(frames_without_positions_are_kept_in_place),
        on_disk(a_frame_lies_on_disk_as_documented),
        in_memory(an_empty_journal_begins_where_it_is_told),
        in_memory(an_abandoned_frame_leaves_nothing),
        in_memory(a_second_process_is_kept_out),
        in_memory(a_frame_torn_at_any_byte_is_cut),
        in_memory(a_frame_without_its_first_block_is_cut),
        in_memory(torn_bytes_are_counted),
        in_memory(damage_in_the_middle_is_told_with_its_positions),
        in_memory(a_damaged_segment_in_the_middle_is_told_by_the_reader),
        in_memory(a_missing_segment_is_damage),
        in_memory(a_frame_within_a_payload_is_no_frame),
        in_memory(a_torn_frame_is_cut_to_its_end),
        in_memory(a_payload_without_its_head_shows_no_frames),
        in_memory(a_file_used_again_shows_no_frames_of_its_former_payloads),
        in_memory(a_payload_behind_a_damaged_first_head_shows_no_frames),
        in_memory(all_frames_of_a_journal_have_one_salt_and_no_two_journals),
        in_memory(a_damaged_first_head_costs_its_own_frame_only),
        in_memory(a_journal_of_another_version_is_refused_as_it_is),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
