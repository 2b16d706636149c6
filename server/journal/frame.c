/* SPDX-License-Identifier: Apache-2.0 */
#include "journal/frame.h"

#include "base/crc32c.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define FRAME_MAGIC UINT32_C(0x32465257) /* "WRF2" */
#define CHECKED     offsetof(struct frame_head, segment)

static_assert(sizeof(struct frame_head) == FRAME_HEAD, "no holes");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "written as it lies in memory");

static uint32_t head_crc(const struct frame_head *head)
{
    return crc32c(0, (const char *)head + CHECKED, FRAME_HEAD - CHECKED);
}

void frame_seal(char *frame, const struct frame_head *head)
{
    struct frame_head h = *head;
    h.magic = FRAME_MAGIC;
    h.payload_crc = crc32c(0, frame + FRAME_HEAD, h.size);
    h.head_crc = head_crc(&h);
    memcpy(frame, &h, FRAME_HEAD);
    memset(frame + FRAME_HEAD + h.size, 0,
           frame_length(h.size) - FRAME_HEAD - (size_t)h.size);
}

bool frame_read_head(const char *bytes, uint64_t segment, uint64_t salt,
                     struct frame_head *ret)
{
    struct frame_head h;
    memcpy(&h, bytes, FRAME_HEAD);
    if (h.magic != FRAME_MAGIC || h.segment != segment || h.head_crc != head_crc(&h))
        return false;
    if (salt && h.salt != salt)
        return false;
    if (h.size > JOURNAL_FRAME_MAX || h.first > UINT64_MAX - h.n)
        return false;
    *ret = h;
    return true;
}

bool frame_payload_is_whole(const struct frame_head *head, const char *payload)
{
    return crc32c(0, payload, head->size) == head->payload_crc;
}

bool frame_looks_begun(const char *bytes, size_t size, uint64_t segment, uint64_t salt)
{
    struct frame_head h = {.magic = FRAME_MAGIC, .segment = segment, .salt = salt};
    memcpy(&h, bytes, size < FRAME_HEAD ? size : FRAME_HEAD);
    return size > 0 && h.magic == FRAME_MAGIC && h.segment == segment &&
           (!salt || h.salt == salt);
}

bool frame_is_foreign(const char *bytes, uint64_t segment)
{
    struct frame_head h;
    memcpy(&h, bytes, FRAME_HEAD);
    bool versioned = !memcmp(bytes, "WRF", 3) && bytes[3] >= '0' && bytes[3] <= '9';
    return versioned && h.magic != FRAME_MAGIC && h.segment == segment;
}
