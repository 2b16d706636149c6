/* SPDX-License-Identifier: Apache-2.0
 *
 * One frame as bytes: a head of 64, the payload, zeros to the end of the block.
 */
#ifndef WEIR_JOURNAL_FRAME_H
#define WEIR_JOURNAL_FRAME_H

#include "journal/journal.h"

#define FRAME_HEAD   ((size_t)64)
#define FRAME_BEGINS 1u /* the first frame of its segment */

/* As it lies on disk, little-endian. The salt is a random number, the same in all frames of a journal: who does
 * not know it cannot make a payload in which a frame is found. */
struct frame_head {
    uint32_t magic;
    uint32_t head_crc; /* of the 56 bytes that follow */
    uint64_t segment;  /* so that what a file held before is never taken for a frame */
    uint64_t first;
    uint64_t size; /* of the payload */
    uint32_t n;
    uint32_t payload_crc;
    uint32_t flags;
    uint32_t zero;
    uint64_t before; /* FRAME_BEGINS: where the frames of the segment before end */
    uint64_t salt;
};

/* Bytes of a frame with such a payload: whole blocks. */
static inline uint64_t frame_length(uint64_t size)
{
    return (FRAME_HEAD + size + JOURNAL_BLOCK - 1) & ~(uint64_t)(JOURNAL_BLOCK - 1);
}

/* Completes the frame whose payload stands behind the room for its head: checks, head, zeros behind. The
 * caller has set segment, first, size, n, flags, before and salt. */
void frame_seal(char *frame, const struct frame_head *head);

/* False: these 64 bytes are no head of a frame of that segment with that salt (0: any). */
bool frame_read_head(const char *bytes, uint64_t segment, uint64_t salt,
                     struct frame_head *ret);
bool frame_payload_is_whole(const struct frame_head *head, const char *payload);

/* Whether they look like the head of such a frame, be it damaged; `size` may be less than 64. */
bool frame_looks_begun(const char *bytes, size_t size, uint64_t segment, uint64_t salt);

/* Whether these 64 bytes are the head of a frame of that segment, but in another version of the format. */
bool frame_is_foreign(const char *bytes, uint64_t segment);

#endif
