/* SPDX-License-Identifier: Apache-2.0
 *
 * collect: the values of a column as a list in JSON (RFC 8259), in the order of their time, of equal times in that of
 * the log: the first or the last `limit` of them, and how many are left out.
 */
#include "../common/declare.h"
#include "../common/kept.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

struct config {
    const char *of;
    int64_t limit;
    int keep; /* enum keep */
};

enum keep { FIRST, LAST };
enum output { LIST, MORE };

static uint32_t limit_of(const struct weir_ctx *ctx)
{
    return (uint32_t)((const struct config *)ctx->config)->limit;
}

KEPT_FUNCTIONS(limit_of(ctx), ctx->types[0] == WEIR_STRING)

/* All ranks are 0. With LAST both others are complements, so that the latest come first. */
static int update(struct weir_ctx *ctx, const struct weir_rows *rows)
{
    const struct config *config = ctx->config;
    const struct weir_rows r = *rows;
    const uint32_t limit = limit_of(ctx);
    for (size_t i = 0; i < r.n; i++) {
        uint32_t row = r.row[i];
        struct item item = {0, r.time[row], weir_sequence(&r, row), {0}};
        if (weir_is_null(r.in[0], row))
            continue;
        if (config->keep == LAST) {
            item.time_us = ~item.time_us;
            item.sequence = ~item.sequence;
        }
        if (kept_row(ctx, (struct kept *)(void *)(r.states + r.group[i] * r.stride),
                     limit, &item, r.in[0], row))
            return -1;
    }
    return 0;
}

/* ---- JSON ---- */

static size_t write_string(char *at, const struct text *text)
{
    char *const first = at;
    *at++ = '"';
    for (uint32_t i = 0; i < text->size; i++) {
        unsigned char c = (unsigned char)text->bytes[i];
        if (c == '"' || c == '\\')
            *at++ = '\\';
        if (c >= 0x20)
            *at++ = (char)c;
        else
            at += sprintf(at, "\\u%04x", c);
    }
    *at++ = '"';
    return (size_t)(at - first);
}

/* The fewest digits that are read as the same number. */
static size_t write_float(char *at, double v)
{
    int n = 0;
    if (!isfinite(v))
        return (size_t)sprintf(at, "null");
    for (int digits = 15; digits <= 17; digits++) {
        n = sprintf(at, "%.*g", digits, v);
        if (strtod(at, NULL) == v)
            break;
    }
    return (size_t)n;
}

static size_t write_value(char *at, uint32_t type, const struct item *item)
{
    switch (type) {
    case WEIR_STRING:
        return write_string(at, item->value.text);
    case WEIR_FLOAT:
        return write_float(at, item->value.f);
    case WEIR_BOOL:
        return (size_t)sprintf(at, "%s", item->value.i ? "true" : "false");
    default:
        return (size_t)sprintf(at, "%" PRId64, item->value.i);
    }
}

/* Of a value with the comma, at most: of a string every byte may become \u0000. */
static size_t room_for(uint32_t type, const struct item *item)
{
    return type == WEIR_STRING ? 6 * (size_t)item->value.text->size + 3 : 32;
}

static int put_list(struct weir_ctx *ctx, const struct item *list, uint32_t n,
                    struct weir_out *out)
{
    const struct config *config = ctx->config;
    const uint32_t type = ctx->types[0];
    size_t room = 3, size = 0;
    for (uint32_t i = 0; i < n; i++)
        room += room_for(type, &list[i]);
    char *text = ctx->host->alloc(ctx, room);
    if (!text)
        return kept_no_memory(ctx);
    for (uint32_t i = 0; i < n; i++) {
        text[size++] = i ? ',' : '[';
        size +=
            write_value(text + size, type, &list[config->keep == LAST ? n - 1 - i : i]);
    }
    text[size++] = ']';
    int err = weir_put_string(ctx, out, LIST, text, size);
    ctx->host->free(ctx, text);
    return err;
}

static int emit_one(struct weir_ctx *ctx, const struct kept *s,
                    const struct weir_window *window, struct weir_out *out)
{
    uint32_t n;
    (void)window;
    if (s->n == 0) {
        weir_put_int(ctx, out, MORE, 0);
        return weir_put_string(ctx, out, LIST, "[]", 2);
    }
    struct item *list = kept_least(ctx, s, limit_of(ctx), item_compare, &n);
    if (!list)
        return -1;
    weir_put_int(ctx, out, MORE, (int64_t)(s->seen - n));
    int err = put_list(ctx, list, n, out);
    ctx->host->free(ctx, list);
    return err;
}

WEIR_EMIT(emit, struct kept, emit_one)

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED, ANY_TYPE,
                 "the column; rows in which it is null do not count"),
    PARAM_INT(struct config, limit, "100", 1, 4096, "how many values, at most"),
    PARAM_CHOICE(struct config, keep, "first", "first last", "which of more than that"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {"{of}_list", WEIR_STRING, "the values by time, in JSON", NULL},
    {"{of}_list_more", WEIR_INT, "how many are left out", NULL},
    {.name = NULL},
};

static const struct weir_analyzer collect = {
    .name = "collect",
    .version = "1.0",
    .help = "The values of a column as a list in JSON",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct kept),
    .state_version = 1,
    .drop = drop,
    .update = update,
    .merge = merge,
    .emit = emit,
    .save = save,
    .load = load,
};
WEIR_PLUGIN(collect);
