/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin as one was written when ABI 1 was frozen, built against that header only (tests/abi/1): it asks for all that a plugin can,
 * and the server of today has to run it. It is not to be changed.
 */
#include <weir/plugin.h>

#include <string.h>

struct config {
    const char *of, *by;
    struct weir_columns more;
    struct weir_numbers over;
    int64_t times;
    double plus;
    int flag, how;
    uint32_t wanted;
    const char *text;
};
enum { HOW_SUM, HOW_MAX };

/* The longest text is memory of its own. */
struct state {
    double total;
    int64_t rows, over, nulls;
    char *longest;
    int64_t length;
};

static const struct weir_param params[] = {{.name = "of",
                                            .type = WEIR_PARAM_COLUMN,
                                            .flags = WEIR_REQUIRED,
                                            .offset = offsetof(struct config, of),
                                            .help = "a number",
                                            .column_types = WEIR_NUMBERS},
                                           {.name = "by",
                                            .type = WEIR_PARAM_COLUMN,
                                            .flags = WEIR_REQUIRED | WEIR_DICTIONARY,
                                            .offset = offsetof(struct config, by),
                                            .help = "a text",
                                            .column_types = WEIR_TYPES(WEIR_STRING)},
                                           {.name = "more",
                                            .type = WEIR_PARAM_COLUMNS,
                                            .flags = WEIR_ALL,
                                            .offset = offsetof(struct config, more),
                                            .help = "others",
                                            .column_types = WEIR_NUMBERS},
                                           {.name = "over",
                                            .type = WEIR_PARAM_NUMBERS,
                                            .offset = offsetof(struct config, over),
                                            .help = "limits, one of which",
                                            .init = "1"},
                                           {.name = "times",
                                            .type = WEIR_PARAM_INT,
                                            .offset = offsetof(struct config, times),
                                            .help = "factor",
                                            .init = "1",
                                            .min = 1,
                                            .max = 1000},
                                           {.name = "plus",
                                            .type = WEIR_PARAM_FLOAT,
                                            .offset = offsetof(struct config, plus),
                                            .help = "added"},
                                           {.name = "flag",
                                            .type = WEIR_PARAM_BOOL,
                                            .offset = offsetof(struct config, flag),
                                            .help = "nulls count"},
                                           {.name = "how",
                                            .type = WEIR_PARAM_CHOICE,
                                            .offset = offsetof(struct config, how),
                                            .choices = "sum max",
                                            .init = "sum",
                                            .help = "what is done"},
                                           {.name = "wanted",
                                            .type = WEIR_PARAM_SET,
                                            .offset = offsetof(struct config, wanted),
                                            .init = "total, rows",
                                            .choices = "total rows over longest",
                                            .help = "outputs"},
                                           {.name = "text",
                                            .type = WEIR_PARAM_STRING,
                                            .offset = offsetof(struct config, text),
                                            .help = "a word"},
                                           {.name = NULL}};
static const struct weir_output outputs[] = {
    {"{of}_total", WEIR_FLOAT, "the sum, or the most", "total"},
    {"rows", WEIR_INT, "events", "rows"},
    {"over", WEIR_INT, "of them beyond the limit", "over"},
    {"longest", WEIR_STRING, "the longest text", "longest"},
    {NULL, 0, NULL, NULL}};

static int opened(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    if (ctx->size < sizeof(struct weir_ctx) ||
        ctx->host->size < sizeof(struct weir_host))
        return weir_fail(ctx, "less than the header says");
    if (c->text && strcmp(c->text, "bad") == 0)
        return weir_fail(ctx, "'text' is '%s'", c->text);
    ctx->user = ctx->host->alloc(ctx, 16);
    return ctx->user ? ctx->host->form(ctx, "as it was") : weir_fail(ctx, "no memory");
}

static void closed(struct weir_ctx *ctx)
{
    ctx->host->free(ctx, ctx->user);
}

static int init(struct weir_ctx *ctx, const struct weir_window *w, void *state)
{
    struct state *s = state;
    (void)ctx;
    s->length =
        w->n_keys == 1 && w->key[0].type == WEIR_STRING && w->end > w->start ? -1 : -2;
    return 0;
}

static void drop(struct weir_ctx *ctx, void *state)
{
    ctx->host->free(ctx, ((struct state *)state)->longest);
}

static int keep(struct weir_ctx *ctx, struct state *s, const char *text, int64_t size)
{
    if (size < s->length || (size == s->length && s->longest &&
                             memcmp(text, s->longest, (size_t)size) <= 0))
        return 0;
    char *copy = ctx->host->alloc(ctx, (size_t)size + 1);
    if (!copy)
        return weir_fail(ctx, "no memory");
    memcpy(copy, text, (size_t)size);
    ctx->host->free(ctx, s->longest);
    s->longest = copy;
    s->length = size;
    return 0;
}

static void add(const struct config *c, struct state *s, double v)
{
    s->total = c->how == HOW_SUM          ? s->total + v
               : v > s->total || !s->rows ? v
                                          : s->total;
}

static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    const struct config *c = ctx->config;
    uint64_t last = 0;
    for (size_t i = 0; i < r->n; i++) {
        uint32_t row = r->row[i];
        struct state *s = (struct state *)(void *)(r->states + r->group[i] * r->stride);
        if (weir_sequence(r, row) <= last)
            return weir_fail(ctx, "rows are not in order");
        last = weir_sequence(r, row);
        if (weir_is_null(r->in[0], row)) {
            s->nulls++;
            ctx->host->skip(ctx, 0, 1);
            continue;
        }
        double v = weir_number(r->in[0], row) * (double)c->times + c->plus;
        add(c, s, v);
        s->rows++;
        s->over += v > c->over.value[0];
        size_t size;
        if (weir_is_null(r->in[1], row))
            continue;
        const char *text = weir_string(r->in[1], row, &size);
        if (keep(ctx, s, text, (int64_t)size))
            return -1;
    }
    return 0;
}

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *w)
{
    (void)w;
    if (from->rows)
        add(ctx->config, into, from->total);
    into->rows += from->rows;
    into->over += from->over;
    into->nulls += from->nulls;
    return from->longest ? keep(ctx, into, from->longest, from->length) : 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *w, struct weir_out *out)
{
    (void)w;
    if (weir_put_float(ctx, out, 0, s->total) || weir_put_int(ctx, out, 1, s->rows) ||
        weir_put_int(ctx, out, 2, s->over))
        return -1;
    return s->longest ? weir_put_string(ctx, out, 3, s->longest, (size_t)s->length) : 0;
}

/* Whatever has happened to saved bytes: FNV-1a. */
static uint64_t hash_of(uint64_t hash, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return hash;
}

static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    struct state s = *(const struct state *)state;
    const char *text = s.longest;
    size_t size = text ? (size_t)s.length : 0;
    s.longest = NULL; /* where it lies here */
    uint64_t hash = hash_of(hash_of(0xcbf29ce484222325u, &s, sizeof(s)), text, size);
    int r = ctx->host->write(ctx, out, &hash, sizeof(hash));
    if (!r)
        r = ctx->host->write(ctx, out, &s, sizeof(s));
    return r || !size ? r : ctx->host->write(ctx, out, text, size);
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes,
                size_t size)
{
    struct state *s = state, saved;
    const char *text = (const char *)bytes + sizeof(uint64_t) + sizeof(saved);
    uint64_t hash;
    if (version != 3 || size < sizeof(hash) + sizeof(saved))
        return weir_fail(ctx, "version %u, %zu bytes", version, size);
    size -= sizeof(hash) + sizeof(saved);
    memcpy(&hash, bytes, sizeof(hash));
    memcpy(&saved, (const char *)bytes + sizeof(hash), sizeof(saved));
    if (hash !=
        hash_of(hash_of(0xcbf29ce484222325u, &saved, sizeof(saved)), text, size))
        return weir_fail(ctx, "damaged");
    *s = saved;
    s->length = -1;
    return saved.length >= 0 ? keep(ctx, s, text, saved.length) : 0;
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)
static const struct weir_analyzer old = {.name = "old",
                                         .version = "1",
                                         .help = "Of ABI 1",
                                         .threads = WEIR_THREADS_CTX,
                                         .params = params,
                                         .outputs = outputs,
                                         .reasons = "null",
                                         .config_size = sizeof(struct config),
                                         .state_size = sizeof(struct state),
                                         .state_version = 3,
                                         .open = opened,
                                         .close = closed,
                                         .init = init,
                                         .drop = drop,
                                         .update = update,
                                         .merge = merge,
                                         .emit = emit,
                                         .save = save,
                                         .load = load};
WEIR_PLUGIN(old);
