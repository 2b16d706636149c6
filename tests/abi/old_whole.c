/* SPDX-License-Identifier: Apache-2.0
 *
 * As old.c, of the other kind: all rows of a window at once, many rows of results, which open describes.
 */
#include <weir/plugin.h>

struct config {
    const char *of, *unused;
};
static const struct weir_param params[] = {{.name = "of",
                                            .type = WEIR_PARAM_COLUMN,
                                            .flags = WEIR_REQUIRED,
                                            .offset = offsetof(struct config, of),
                                            .help = "a column",
                                            .column_types = WEIR_TYPES(WEIR_INT)},
                                           {.name = "unused",
                                            .type = WEIR_PARAM_COLUMN,
                                            .offset = offsetof(struct config, unused),
                                            .help = "another one",
                                            .column_types = WEIR_NUMBERS},
                                           {.name = NULL}};

static int opened(struct weir_ctx *ctx)
{
    const struct weir_output outputs[] = {
        {"value", WEIR_SAME_AS(0), "each value that rises", NULL},
        {"at", WEIR_TIME, "when", NULL},
        {NULL, 0, NULL, NULL}};
    if (ctx->types[1] && ctx->host->leave_out(ctx, 1))
        return -1;
    return ctx->host->outputs(ctx, outputs);
}

/* Those that are more than all before them. */
static int whole(struct weir_ctx *ctx, const struct weir_window *w,
                 const struct weir_rows *r, struct weir_out *out)
{
    int err = 0;
    int64_t most = INT64_MIN;
    (void)w;
    for (size_t i = 0; !err && i < r->n; i++) {
        uint32_t row = r->row[i];
        if (weir_is_null(r->in[0], row) || weir_int(r->in[0], row) <= most)
            continue;
        most = weir_int(r->in[0], row);
        err = weir_put_int(ctx, out, 0, most) ||
              weir_put_int(ctx, out, 1, r->time[row]) || ctx->host->row(ctx, out);
    }
    return err ? -1 : 0;
}

static const struct weir_analyzer old_whole = {.name = "old_whole",
                                               .version = "1",
                                               .help = "Of ABI 1",
                                               .flags = WEIR_WHOLE | WEIR_MANY_ROWS,
                                               .params = params,
                                               .config_size = sizeof(struct config),
                                               .open = opened,
                                               .whole = whole};
WEIR_PLUGIN(old_whole);
