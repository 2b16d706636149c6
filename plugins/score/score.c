/* SPDX-License-Identifier: Apache-2.0
 *
 * score: asks a service for a number about each value of a column, by HTTP, and gives the mean of what it says: a model
 * that judges texts, say. An example of an analyzer with an asynchronous part: ask and read know nothing of connections,
 * time-outs and repeats, update takes the answer as it takes columns.
 */
#include "../common/declare.h"
#include "weir/async.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct config {
    const char *of, *url;
};

struct state {
    int64_t scored, unscored; /* rows */
    double total, least, most;
};

enum { OF, SCORE }; /* inputs: the column, then what is answered */

/* ---- Asking ---- */

static const struct weir_output answers[] = {
    {.name = "score", .type = WEIR_FLOAT, .help = "what the service says"},
    {.name = NULL},
};

/* POST, with the value as text. */
static int ask(struct weir_ctx *ctx, const struct weir_cell *value,
               struct weir_asked *to)
{
    static const char *const headers[] = {"Content-Type: text/plain; charset=utf-8",
                                          "Accept: text/plain", NULL};
    const struct config *c = ctx->config;
    char digits[24];
    struct weir_request request = {
        .size = sizeof(request), .url = c->url, .headers = headers};
    if (value->type == WEIR_STRING) {
        request.body = value->as.s;
        request.body_size = value->size;
    } else {
        request.body = digits;
        request.body_size =
            (size_t)snprintf(digits, sizeof(digits), "%lld", (long long)value->as.i);
    }
    return to->request(ctx, to, &request);
}

/* A decimal number, and a line's end perhaps. */
static int parse(const char *text, size_t size, double *ret)
{
    char *end;
    if (!size || strspn(text, "0123456789+-.eE\r\n") != size)
        return 0;
    *ret = strtod(text, &end);
    return end != text && isfinite(*ret) && !end[strspn(end, "\r\n")];
}

static int read_score(struct weir_ctx *ctx, const struct weir_reply *reply,
                      struct weir_out *out)
{
    double score;
    if (reply->status == 404 || reply->status == 204)
        return 0; /* it has none for this value */
    if (reply->status != 200) {
        weir_fail(ctx, "HTTP status %d", (int)reply->status);
        return WEIR_NO_ANSWER;
    }
    if (!parse(reply->body, reply->body_size, &score)) {
        weir_fail(ctx, "the reply is not a decimal number");
        return WEIR_NO_ANSWER;
    }
    return weir_put_float(ctx, out, 0, score);
}

static const struct weir_async async = {
    .size = sizeof(async), .answers = answers, .ask = ask, .read = read_score};

/* ---- Folding ---- */

static void add(struct state *s, double total, double least, double most, int64_t n)
{
    s->least = !s->scored || least < s->least ? least : s->least;
    s->most = !s->scored || most > s->most ? most : s->most;
    s->total += total;
    s->scored += n;
}

static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    if (weir_is_null(r->in[OF], row))
        return;
    if (weir_is_null(r->in[SCORE], row)) {
        s->unscored++;
        return;
    }
    double score = weir_number(r->in[SCORE], row);
    add(s, score, score, score, 1);
}

WEIR_STEP(update, struct state, step)

static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from,
                     const struct weir_window *window)
{
    (void)ctx;
    (void)window;
    into->unscored += from->unscored;
    if (from->scored)
        add(into, from->total, from->least, from->most, from->scored);
    return 0;
}

static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    if (s->scored) {
        weir_put_float(ctx, out, 0, s->total / (double)s->scored);
        weir_put_float(ctx, out, 1, s->least);
        weir_put_float(ctx, out, 2, s->most);
    }
    weir_put_int(ctx, out, 3, s->scored);
    return weir_put_int(ctx, out, 4, s->unscored);
}

WEIR_MERGE(merge, struct state, merge_one)
WEIR_EMIT(emit, struct state, emit_one)

/* ---- */

static const struct weir_param params[] = {
    PARAM_COLUMN(struct config, of, WEIR_REQUIRED | WEIR_ASKED,
                 WEIR_TYPES(WEIR_STRING) | WEIR_TYPES(WEIR_INT),
                 "the column whose values are scored"),
    PARAM_STRING(struct config, url, WEIR_REQUIRED, NULL,
                 "who is asked: http or https, by POST of the value as text"),
    PARAM_END,
};

static const struct weir_output outputs[] = {
    {.name = "{of}_score_mean", .type = WEIR_FLOAT, .help = "mean of the scores"},
    {.name = "{of}_score_min", .type = WEIR_FLOAT, .help = "the least of them"},
    {.name = "{of}_score_max", .type = WEIR_FLOAT, .help = "the greatest of them"},
    {.name = "{of}_scored", .type = WEIR_INT, .help = "rows with a score"},
    {.name = "{of}_unscored", .type = WEIR_INT, .help = "rows without one"},
    {.name = NULL},
};

static int open_score(struct weir_ctx *ctx)
{
    const char *url = ((const struct config *)ctx->config)->url;
    size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : 7;
    if ((scheme == 7 && strncmp(url, "http://", 7) != 0) || !url[scheme])
        return weir_fail(
            ctx, "url: '%s' is not a URL such as http://127.0.0.1:9000/score", url);
    return 0;
}

static const struct weir_analyzer score = {
    .name = "score",
    .version = "1.0",
    .help = "Scores that a service gives to values of a column",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .state_version = 1,
    .open = open_score,
    .update = update,
    .merge = merge,
    .emit = emit,
    .async = &async,
};
WEIR_PLUGIN(score);
