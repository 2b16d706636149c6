/* SPDX-License-Identifier: Apache-2.0
 *
 * The rejected records of a body.
 */
#include "source/letters.h"

#include "base/clock.h"

#include <stdlib.h>

#define LETTERS_KEPT 16384u /* bytes of memory that an idle one may hold */

struct letter {
    struct decode_error error;
    size_t at, size; /* of the record in letters.records */
    bool truncated;
};

static void letters_take(void *ctx, const struct decode_reject *r)
{
    struct letters *l = ctx;
    if (l->n == DECODE_ERRORS_MAX)
        return;
    if (!l->list && !(l->list = calloc(DECODE_ERRORS_MAX, sizeof(*l->list))))
        return;
    size_t at = l->records.size;
    buffer_put(&l->records, r->record ? r->record : "", r->record ? r->size : 0);
    if (l->records.error)
        return; /* no memory: there is none for those that follow, either */
    l->list[l->n++] = (struct letter){.error = *r->error,
                                      .at = at,
                                      .size = r->record ? r->size : 0,
                                      .truncated = r->truncated};
}

void letters_listen(struct letters *l, struct decoder *d, const struct source_stream *s)
{
    if (s->sink.dead)
        decoder_on_reject(d, letters_take, l);
}

static struct dead_letter letters_get(const struct letters *l, size_t i,
                                      const char *stream, const char *source,
                                      int64_t now_us)
{
    const struct letter *from = &l->list[i];
    return (struct dead_letter){.stream = stream,
                                .received_us = now_us,
                                .source = source,
                                .line = from->error.line,
                                .column = from->error.column,
                                .reason = decode_reason_name(from->error.reason),
                                .message = from->error.message,
                                .record =
                                    from->size ? l->records.data + from->at : NULL,
                                .record_size = from->size,
                                .truncated = from->truncated,
                                .once = l->once};
}

void letters_hand_on(struct letters *l, const struct source_stream *s,
                     const char *source)
{
    struct dead_letter dead[DECODE_ERRORS_MAX];
    if (l->n == 0)
        return;
    int64_t now_us = clock_now_us();
    for (size_t i = 0; i < l->n; i++)
        dead[i] = letters_get(l, i, s->name, source, now_us);
    s->sink.dead(s->sink.ctx, dead, l->n);
    letters_drop(l);
}

void letters_hand_on_each(struct letters *l, const struct source_stream *s,
                          void (*place)(void *ctx, struct dead_letter *d), void *ctx)
{
    if (l->n == 0)
        return;
    int64_t now_us = clock_now_us();
    for (size_t i = 0; i < l->n; i++) {
        struct dead_letter dead = letters_get(l, i, s->name, "", now_us);
        place(ctx, &dead);
        s->sink.dead(s->sink.ctx, &dead, 1);
    }
    letters_drop(l);
}

void letters_drop(struct letters *l)
{
    l->n = 0;
    if (l->records.room > LETTERS_KEPT)
        buffer_free(&l->records);
    buffer_clear(&l->records);
}

void letters_free(struct letters *l)
{
    free(l->list);
    buffer_free(&l->records);
    *l = (struct letters){0};
}
