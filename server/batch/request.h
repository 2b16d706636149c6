/* SPDX-License-Identifier: Apache-2.0
 *
 * What a producer hands over at once: all of it is taken, or nothing. And how it hears that what it
 * handed over is on disk.
 */
#ifndef WEIR_BATCH_REQUEST_H
#define WEIR_BATCH_REQUEST_H

#include "batch/batch.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_KEY_MAX      255   /* bytes of an Idempotency-Key */
#define REQUEST_ERRORS_MAX   32768 /* bytes of the JSON array of faults kept with one */
#define REQUEST_BOOKMARK_MAX 512   /* bytes of a bookmark */

/* Somebody who waits until a request is durable, without a thread of their own: called once. */
struct ticket {
    void (*done)(
        void *ctx); /* from the log's task, with a lock held: must not call the log */
    void *ctx;
    int result; /* set before done: 0; -EIO: nobody knows before the next start whether it was
                 * taken; others, such as -ENOSPC, -EDQUOT: nothing was taken */
    uint64_t
        position; /* of the last entry that the request is part of; 0: it has no rows */
    /* Who sets this cancels the ticket in any case, also after it was called. The memory of the request then comes back to
     * the thread it came from, and with it, as `spare`, one of its batches, if the log has only copied it. */
    bool returns;
    struct batch *spare;  /* set by cancel; NULL: none */
    void *owner;          /* the log's */
    _Atomic bool waiting; /* the log's */
};

/* What came of a request, as it is told again to a producer that repeats it. */
struct request_answer {
    uint64_t accepted, rejected, position;
    char *errors; /* JSON array of the faults, as it was answered; NULL: none */
    size_t errors_size;
};

/* Idempotency-Key of a request. */
struct request_id {
    const char *key; /* 1 to REQUEST_KEY_MAX bytes */
    size_t size;
    uint64_t
        digest; /* of the body: the same key with another body is a mistake of the producer's */
    struct request_answer answer; /* position: filled in by the log */
};

/* Bytes of a copy of a key, besides the struct. */
static inline size_t request_id_bytes(const struct request_id *key)
{
    return key->size + key->answer.errors_size;
}

/* A copy whose key and errors lie at `bytes`, where there is room for request_id_bytes. */
static inline struct request_id request_id_copy(const struct request_id *key,
                                                char *bytes)
{
    struct request_id copy = *key;
    memcpy(bytes, key->key, key->size);
    copy.key = bytes;
    copy.answer.errors = key->answer.errors_size ? bytes + key->size : NULL;
    if (copy.answer.errors)
        memcpy(copy.answer.errors, key->answer.errors, key->answer.errors_size);
    return copy;
}

/* What is known of a key that was used before. */
struct request_known {
    uint64_t digest;
    struct request_answer
        answer; /* with errors that were malloc'ed: request_answer_free */
};

struct origin;

struct request {
    uint32_t source;       /* small number of the source; 0: all that give no name */
    struct origin *origin; /* the connection it comes over; NULL: none that is known */
    size_t n;
    struct batch *const *
        batch; /* unsealed; none is empty. n is 0: only to wait for what was put before */
    struct ticket *ticket;        /* NULL: nobody waits (ack: memory) */
    const struct request_id *key; /* NULL: none. Copied */
    const _Atomic bool *stop;     /* who waits for room gives up; NULL: never */
    /* How far its reader has read the source, a named one, behind these rows: text of the reader's own, kept with them in the
     * journal and the database. There may be no rows: then it says that the source is there. NULL: it is a producer that
     * sends. Copied. */
    const char *bookmark;
    /* Of such a reader: the rows do not say how far the source is, other senders' stand among them. A request without rows
     * does, reached_us; INT64_MIN: no further than before. */
    bool held;
    int64_t reached_us;
};

/* A request is one frame of the journal, at most 1 GiB with what is beside it. */
#define REQUEST_STORED_MAX (((uint64_t)1 << 30) - ((uint64_t)1 << 20))

/* Bytes that a request may take in a journal of at most `journal_limit` bytes (0: any): three eighths. With names
 * and a schema that is half of it at most, and so is the last segment, which stays when all else is trimmed. */
static inline uint64_t request_stored_max(uint64_t journal_limit)
{
    uint64_t most = journal_limit / 8 * 3;
    return journal_limit && most < REQUEST_STORED_MAX ? most : REQUEST_STORED_MAX;
}

static inline void request_answer_free(struct request_answer *a)
{
    free(a->errors);
    a->errors = NULL;
    a->errors_size = 0;
}

#endif
