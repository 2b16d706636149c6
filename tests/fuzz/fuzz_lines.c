/* SPDX-License-Identifier: Apache-2.0
 *
 * Line protocol. The first byte says whose time counts, the second chooses the cuts; the rest is the body. Whole and in
 * pieces it gives the same; so does a router whose only stream takes every measurement.
 */
#include "pieces.h"
#include "target.h"

#include <stdlib.h>
#include <string.h>

struct lane {
    struct decoder *decoder;
    struct batch *batch;
    struct buffer *rows;
};

static int find(void *ctx, const char *name, size_t size, struct decoder **ret)
{
    (void)name;
    (void)size;
    *ret = ((struct lane *)ctx)->decoder;
    return 0;
}

static void take_rows(struct lane *l)
{
    for (uint32_t row = 0; row < l->batch->n_rows; row++) {
        buffer_puts(l->rows, "row ");
        dump_row(l->rows, l->batch, row);
        buffer_putc(l->rows, '\n');
    }
    batch_clear(l->batch);
}

static int room(void *ctx, struct decoder *d)
{
    struct lane *l = ctx;
    take_rows(l);
    decoder_out(d, l->batch);
    return 0;
}

/* The rows that come through a router, in as many pieces as there are bytes. */
static void route(const struct decode_options *o, const char *body, size_t size,
                  struct buffer *rows)
{
    struct lane lane = {.rows = rows};
    const struct decode_route route = {find, room, &lane};
    struct decoder *router = NULL;
    if (decoder_new(o, DECODE_LINES, &router) < 0 ||
        decoder_new(o, DECODE_LINES, &lane.decoder) < 0 ||
        batch_new(o->schema, 1, &lane.batch) < 0)
        abort();
    decoder_reset(lane.decoder, 0);
    decoder_set_route(router, &route);
    int status = 0;
    for (size_t i = 0; i < size && status == 0; i++) {
        const char *p = body + i;
        size_t n = 1;
        status = decoder_feed(router, &p, &n, NULL);
    }
    if (status == 0)
        decoder_finish(router, NULL);
    take_rows(&lane);
    const struct decode_stats *all = decoder_stats(router),
                              *its = decoder_stats(lane.decoder);
    if (all->accepted != its->accepted || all->rejected < its->rejected)
        abort();
    batch_unref(lane.batch);
    decoder_free(lane.decoder);
    decoder_free(router);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct decode_options o = pieces_options(data[0] % 2 ? DECODE_ARRIVAL : DECODE_NS);
    struct buffer dump = {0}, rows = {0}, routed = {0};
    const char *body = (const char *)data + 2;
    pieces_compare(&o, DECODE_LINES, body, size - 2, data[1], &dump);
    for (const char *p = buffer_text(&dump); *p; p = strchr(p, '\n') + 1)
        if (strncmp(p, "row ", 4) == 0)
            buffer_put(&rows, p, (size_t)(strchr(p, '\n') + 1 - p));
    route(&o, body, size - 2, &routed);
    if (strcmp(buffer_text(&rows), buffer_text(&routed)) != 0)
        pieces_differ("alone and through a router", buffer_text(&rows),
                      buffer_text(&routed));
    buffer_free(&dump);
    buffer_free(&rows);
    buffer_free(&routed);
    return 0;
}
