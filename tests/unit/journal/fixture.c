/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int setup_in(const char *parent, void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    snprintf(f->root, sizeof(f->root), "%s/weir-journal-XXXXXX", parent);
    assert_non_null(mkdtemp(f->root));
    snprintf(f->folder, sizeof(f->folder), "%s/journal", f->root);
    f->options = (struct journal_options){
        .folder = f->folder, .stream = "trades", .segment_size = 64 << 10};
    *state = f;
    return 0;
}

int fixture_setup(void **state)
{
    return setup_in("/var/tmp", state);
}

int fixture_setup_memory(void **state)
{
    return setup_in(access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm", state);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    journal_close(f->j);
    fixture_run("rm -rf '%s'", f->root);
    free(f);
    return 0;
}

void fixture_run(const char *format, ...)
{
    char command[512];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    assert_int_equal(system(command), 0);
}

void fixture_open(struct fixture *f)
{
    if (journal_open(&f->options, NULL, &f->j, &f->error))
        fail_msg("%s", f->error.text);
}

void fixture_close(struct fixture *f)
{
    journal_close(f->j);
    f->j = NULL;
}

void fixture_reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f);
}

/* ---- Frames ---- */

void fixture_fill(char *bytes, uint64_t first, size_t size)
{
    uint64_t v = first * UINT64_C(0x9e3779b97f4a7c15) + size;
    for (size_t i = 0; i < size; i++) {
        v = v * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        bytes[i] = (char)(v >> 56);
    }
}

int fixture_try(struct fixture *f, uint32_t n, size_t size)
{
    uint64_t first = journal_end(f->j), got;
    if (journal_pending(f->j) == 0 && size > 0) {
        char *room = journal_room(f->j, size);
        assert_non_null(room);
        fixture_fill(room, first, size);
        journal_added(f->j, size);
    }
    int err = journal_commit(f->j, n, &got, &f->error);
    if (err)
        return err;
    assert_int_equal(got, first);
    assert_true(f->n < FRAMES_MAX);
    f->made[f->n++] = (struct made){first, n, size};
    return 0;
}

void fixture_commit(struct fixture *f, uint32_t n, size_t size)
{
    if (fixture_try(f, n, size))
        fail_msg("%s", f->error.text);
}

/* A bit at a time. */
uint32_t fixture_crc(const char *bytes, size_t size)
{
    uint32_t c = ~0u;
    for (size_t i = 0; i < size; i++) {
        c ^= (unsigned char)bytes[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0);
    }
    return ~c;
}

static void forge(char *head, uint64_t segment, uint64_t first)
{
    uint32_t n = 1;
    memset(head, 0, 64);
    memcpy(head, "WRF2", 4);
    memcpy(head + 8, &segment, 8);
    memcpy(head + 16, &first, 8);
    memcpy(head + 32, &n, 4);
    memcpy(head + 56, "guessed.", 8);
    uint32_t check = fixture_crc(head + 8, 56);
    memcpy(head + 4, &check, 4);
}

void fixture_add_forged(struct fixture *f, size_t blocks, uint64_t segment,
                        uint64_t first)
{
    size_t size = blocks * JOURNAL_BLOCK - 64;
    char *room = journal_room(f->j, size);
    assert_non_null(room);
    memset(room, 'x', size);
    for (size_t at = JOURNAL_BLOCK - 64; at < size; at += JOURNAL_BLOCK)
        forge(room + at, segment, first);
    journal_added(f->j, size);
}

bool fixture_is_begin(const struct journal_frame *frame)
{
    return frame->n == 0 && frame->size == 8 && !memcmp(frame->payload, "begin...", 8);
}

void fixture_check_frame(const struct made *m, const struct journal_frame *frame)
{
    char *want = malloc(m->size + 1);
    assert_non_null(want);
    assert_int_equal(frame->first, m->first);
    assert_int_equal(frame->n, m->n);
    assert_int_equal(frame->size, m->size);
    assert_int_equal((uintptr_t)frame->payload % 64, 0);
    fixture_fill(want, m->first, m->size);
    assert_true(memcmp(want, frame->payload, m->size) == 0);
    free(want);
}

void fixture_check(struct fixture *f, struct journal *j, size_t from, size_t to)
{
    uint64_t position = from < f->n ? f->made[from].first : journal_end(j);
    struct journal_reader *r;
    struct journal_frame frame;
    int got;
    assert_int_equal(journal_reader_new(j, position, &r, &f->error), 0);
    size_t i = from;
    while ((got = journal_reader_next(r, &frame, &f->error)) == 1) {
        if (fixture_is_begin(&frame) || (i == from && frame.first < position))
            continue;
        assert_true(i < to);
        fixture_check_frame(&f->made[i++], &frame);
    }
    if (got < 0)
        fail_msg("%s", f->error.text);
    assert_int_equal(i, to);
    journal_reader_free(r);
}

int fixture_begin(void *ctx, struct journal *j)
{
    (void)ctx;
    char *room = journal_room(j, 8);
    if (!room)
        return -1;
    memcpy(room, "begin...", 8);
    journal_added(j, 8);
    return 0;
}

/* ---- Files ---- */

size_t fixture_files(const char *folder, const char *suffix, uint64_t *ret_bytes)
{
    char path[512];
    size_t n = 0;
    uint64_t bytes = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        size_t name = strlen(e->d_name), end = strlen(suffix);
        if (e->d_name[0] == '.' || name < end ||
            strcmp(e->d_name + name - end, suffix) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        if (stat(path, &st))
            continue; /* gone meanwhile */
        n++;
        bytes += (uint64_t)st.st_size;
    }
    closedir(d);
    if (ret_bytes)
        *ret_bytes = bytes;
    return n;
}

char *fixture_read(const char *folder, const char *name, size_t *ret_size)
{
    char path[256];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    char *bytes = malloc((size_t)st.st_size + 1);
    assert_non_null(bytes);
    *ret_size = fread(bytes, 1, (size_t)st.st_size, f);
    fclose(f);
    return bytes;
}

void fixture_write(const char *folder, const char *name, const char *bytes, size_t size)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}
