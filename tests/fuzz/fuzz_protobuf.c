/* SPDX-License-Identifier: Apache-2.0
 *
 * Remote write of Prometheus, metrics and logs of OpenTelemetry, as protobuf and JSON, Telegraf's JSON: the first byte
 * chooses. The body lies in memory of just
 * its size and what may be read behind it. What is rejected is counted, and no row has more than its schema says.
 */
#include "pieces.h"
#include "target.h"

#include <stdlib.h>
#include <string.h>

struct lane {
    struct decoder *decoder;
    struct batch *batch;
    uint64_t rows;
};

/* Names that begin with n are nobody's. */
static int find(void *ctx, const char *name, size_t size, struct decoder **ret)
{
    if (size == 0 || name[0] != 'n')
        *ret = ((struct lane *)ctx)->decoder;
    return 0;
}

static int room(void *ctx, struct decoder *d)
{
    struct lane *l = ctx;
    struct buffer text = {0};
    for (uint32_t row = 0; row < l->batch->n_rows; row++)
        dump_row(&text, l->batch, row); /* all of it is read */
    buffer_free(&text);
    l->rows += l->batch->n_rows;
    batch_clear(l->batch);
    decoder_out(d, l->batch);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int (*const decode[])(struct decoder *, const char *, size_t) = {
        decoder_remote,         decoder_otlp_metrics,
        decoder_otlp_logs,      decoder_otlp_metrics_json,
        decoder_otlp_logs_json, decoder_telegraf};
    if (size < 1)
        return 0;
    struct decode_options o =
        pieces_options(data[0] / 3 % 2 ? DECODE_ARRIVAL : DECODE_NS);
    struct lane lane = {0};
    const struct decode_route route = {find, room, &lane};
    struct decoder *router = NULL;
    char *body = calloc(1, size - 1 + DECODE_PAD);
    if (!body || decoder_new(&o, DECODE_LINES, &router) < 0 ||
        decoder_new(&o, DECODE_LINES, &lane.decoder) < 0 ||
        batch_new(o.schema, 1, &lane.batch) < 0)
        abort();
    memcpy(body, data + 1, size - 1);
    decoder_set_route(router, &route);
    decode[data[0] % 3 + (data[0] & 128 ? 3 : 0)](router, body, size - 1);
    room(&lane, lane.decoder);
    const struct decode_stats *all = decoder_stats(router),
                              *its = decoder_stats(lane.decoder);
    if (lane.rows != all->accepted || all->accepted != its->accepted ||
        all->rejected != its->rejected)
        abort();
    batch_unref(lane.batch);
    decoder_free(lane.decoder);
    decoder_free(router);
    free(body);
    return 0;
}
