/* SPDX-License-Identifier: Apache-2.0
 *
 * A journal in a temporary folder, and the list of what was committed to it: the model that everything
 * read is compared with.
 */
#ifndef WEIR_TESTS_JOURNAL_FIXTURE_H
#define WEIR_TESTS_JOURNAL_FIXTURE_H

#include "journal/journal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FRAMES_MAX 5000

struct made {
    uint64_t first;
    uint32_t n;
    size_t size;
};

struct fixture {
    char root[64];
    char folder[80]; /* root/journal */
    struct journal_options options;
    struct journal *j;
    struct error error;
    struct made made[FRAMES_MAX];
    size_t n;
};

int fixture_setup(void **state);        /* on a disk */
int fixture_setup_memory(void **state); /* where thousands of syncs cost nothing */
int fixture_teardown(void **state);

void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);
void fixture_reopen(struct fixture *f);

void fixture_fill(char *bytes, uint64_t first, size_t size); /* a payload */

/* Commits a frame with `n` positions and `size` bytes that depend on its first position. */
int fixture_try(struct fixture *f, uint32_t n, size_t size);
void fixture_commit(struct fixture *f, uint32_t n, size_t size);

/* Adds `blocks` blocks less a head, so that it fills them as the payload of a frame. Each block but the first
 * begins as a client would forge it: with the head of an empty frame, right in all that it can know. */
void fixture_add_forged(struct fixture *f, size_t blocks, uint64_t segment,
                        uint64_t first);
uint32_t fixture_crc(const char *bytes, size_t size); /* CRC-32C, from the definition */

/* Reads the journal from the position of frame `from` to the end: exactly the frames [from, to), each
 * whole. Those before `from` in the same segment, and beginnings of segments, may come first. */
void fixture_check(struct fixture *f, struct journal *j, size_t from, size_t to);
void fixture_check_frame(const struct made *m, const struct journal_frame *frame);
bool fixture_is_begin(const struct journal_frame *frame);

/* A begin_segment that writes "begin". */
int fixture_begin(void *ctx, struct journal *j);

/* Files of the folder whose names end with `suffix`, and their bytes. */
size_t fixture_files(const char *folder, const char *suffix, uint64_t *ret_bytes);

/* The bytes of one file, malloc'ed; and back. */
char *fixture_read(const char *folder, const char *name, size_t *ret_size);
void fixture_write(const char *folder, const char *name, const char *bytes,
                   size_t size);

void fixture_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
