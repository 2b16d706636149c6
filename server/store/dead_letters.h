/* SPDX-License-Identifier: Apache-2.0
 *
 * Rejected records in the file: the newest ones of each stream, in weir_dead_letters. They wait in the
 * inbox of the store like the reports of workers and go into the same transactions, but whoever brings
 * them never waits.
 */
#ifndef WEIR_STORE_DEAD_LETTERS_H
#define WEIR_STORE_DEAD_LETTERS_H

#include "source/dead_letter.h"
#include "store/store.h"

#define DEAD_BATCHES_MAX 64         /* puts that wait to be written */
#define DEAD_BYTES_MAX   (1u << 20) /* of them all, if there are several */

/* Keeps the newest `limit` letters of the stream and deletes what is older (0: all). Before
 * store_start; once for each stream. `metrics` may be NULL. -ENOMEM, -EIO, ... */
int dead_letters_keep(struct store *s, const char *stream, uint64_t limit,
                      struct metrics *metrics, struct error *error);

/* Letters of one stream, copied, without those that are `once` and there already. Never waits: what does not fit is dropped
 * and counted. Any thread. */
void dead_letters_put(struct store *s, const struct dead_letter *list, size_t n);

/* Deletes all that were put before, and waits until that is committed. -ENOENT: not a stream that is kept;
 * -ETIMEDOUT: not yet at `deadline_us` (clock_monotonic_us), it will be; -EAGAIN: too much waits; -EIO,
 * -ESHUTDOWN, -ENOMEM. */
int dead_letters_empty(struct store *s, const char *stream, int64_t deadline_us);

/* ---- For the store ---- */

struct dead_letters;
struct dead_batch;

void dead_letters_free(struct dead_letters *d); /* takes NULL; all batches are freed */

/* Puts a batch into the file, within the writer's transaction; a second time is as once. Returns a SQLite
 * result code. */
int dead_letters_write(struct store *s, const struct dead_batch *b);
void dead_letters_committed(const struct dead_batch *b);
void dead_letters_given_up(const struct dead_batch *b);
void dead_batch_free(struct dead_batch *b); /* takes NULL */

#endif
