/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes from one process to another, in memory that both have mapped: one writes, one reads.
 *
 *      |  read  | published, not read yet | written |          room           |
 *               tail                      head                                 modulo the size
 *
 * Nobody is asked and no system call is made as long as there is room, and something to read. Who has to wait says so
 * and sleeps elsewhere; the other one is told then to wake it. What the other process writes here is not believed: whatever
 * its index is, only bytes of the ring are touched.
 */
#ifndef WEIR_APART_RING_H
#define WEIR_APART_RING_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where both find the indices. All are sequentially consistent: an index is published before it is looked whether
 * the other one sleeps, who says so before it looks at the index again. */
struct ring_shared {
    alignas(64) _Atomic uint64_t head; /* bytes published so far */
    alignas(64) _Atomic uint64_t tail; /* bytes read so far */
    alignas(64) _Atomic uint32_t reader_sleeps, writer_sleeps;
};

/* One process's end. */
struct ring {
    struct ring_shared *shared;
    char *data;
    size_t size; /* a power of two */
    /* The writer's head, with what is not published; the reader's tail, with what is not given back; and so much of it is. */
    uint64_t at, told;
    uint64_t seen; /* the other one's index, looked at again when it does not do */
};

/* ---- The writer ---- */

/* Looks at what has been read since only if there is less room than wanted. */
size_t ring_room(struct ring *r, size_t wanted);
void ring_write(struct ring *r, const void *bytes, size_t size); /* at most the room */
/* What was written can be read by a reader that is awake; one that sleeps goes on sleeping. */
void ring_show(struct ring *r);
/* Bytes that are not published yet. */
bool ring_has_written(const struct ring *r);
/* True: there is something new, and the reader sleeps: it is the caller who wakes it. */
bool ring_publish(struct ring *r);
/* True: there is no room, and the reader will wake the writer. */
bool ring_sleep_for_room(struct ring *r);
/* Bytes that the reader has not read yet. */
size_t ring_behind(const struct ring *r);

/* ---- The reader ---- */

/* Likewise: looks at what has come since only if less is known of. */
size_t ring_ready(struct ring *r, size_t wanted);
void ring_read(struct ring *r, void *to, size_t size); /* at most what is ready */
/* What was read is room again. True: it is more than before, and the writer sleeps: it is the caller who wakes it. */
bool ring_give_back(struct ring *r);
/* True: there is nothing to read, and the writer will wake the reader. */
bool ring_sleep_for_bytes(struct ring *r);

#endif
