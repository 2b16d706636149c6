/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON. The first byte chooses format and unit, the second the cuts; the rest is the body. A line has
 * to give the same row alone, to a decoder that has seen no other, as among its neighbours: layouts
 * make lines faster, never different.
 */
#include "pieces.h"
#include "target.h"

#include <stdlib.h>
#include <string.h>

#define LINES_MAX 32

/* The lines of a dump that begin with "row ". */
static void keep_rows(struct buffer *to, const char *dump)
{
    for (const char *p = dump, *feed; (feed = strchr(p, '\n')); p = feed + 1)
        if (strncmp(p, "row ", 4) == 0)
            buffer_put(to, p, (size_t)(feed + 1 - p));
}

static void decode_alone(const struct decode_options *o, const char *line, size_t size,
                         struct buffer *rows)
{
    struct decoder *d = NULL;
    struct buffer dump = {0};
    if (decoder_new(o, DECODE_NDJSON, &d) < 0)
        abort();
    dump_decode(d, o->schema, line, size, NULL, 0, &dump);
    keep_rows(rows, buffer_text(&dump));
    buffer_free(&dump);
    decoder_free(d);
}

static void compare_alone(const struct decode_options *o, const char *body, size_t size,
                          const char *dump)
{
    struct buffer together = {0}, alone = {0};
    const char *p = body, *end = body + size;
    for (unsigned lines = 0; p < end; lines++) {
        const char *feed = memchr(p, '\n', (size_t)(end - p));
        const char *next = feed ? feed + 1 : end;
        bool bom = p != body && next - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0;
        if (lines == LINES_MAX || bom) /* a mark is good on the first line only */
            goto out;
        decode_alone(o, p, (size_t)(next - p), &alone);
        p = next;
    }
    keep_rows(&together, dump);
    if (strcmp(buffer_text(&together), buffer_text(&alone)) != 0)
        pieces_differ("together and alone", buffer_text(&together),
                      buffer_text(&alone));
out:
    buffer_free(&together);
    buffer_free(&alone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    unsigned kind = data[0] / 2 % (DECODE_ARRIVAL + 2);
    struct decode_options o =
        kind > DECODE_ARRIVAL ? pieces_options_paths() : pieces_options(kind);
    enum decode_format format = data[0] & 1 ? DECODE_JSON : DECODE_NDJSON;
    const char *body = (const char *)data + 2;
    struct buffer dump = {0};
    pieces_compare(&o, format, body, size - 2, data[1], &dump);
    if (format == DECODE_NDJSON)
        compare_alone(&o, body, size - 2, buffer_text(&dump));
    buffer_free(&dump);
    return 0;
}
