/* @: what it gives, in a sentence. A service is asked about each value of a column. */
#include <weir/async.h>

#include <stdlib.h>

/* What the configuration says; the server fills it in. */
struct config {
    const char *of, *url;
};

/* What is remembered of a group, one key in one window. It begins as zeros. */
struct state {
    int64_t answered;
    double total;
};

/* Inputs of update: columns of parameters, behind them what was answered. */
enum { OF, ANSWER };

/* ---- Asking: connections, time-outs, repeats and a cache are the server's ---- */

static const struct weir_output answers[] = {
    {.name = "answer", .type = WEIR_FLOAT, .help = "what the service says"},
    {.name = NULL},
};

/* What to send about a value: here a POST of the text. */
static int ask(struct weir_ctx *ctx, const struct weir_cell *value,
               struct weir_asked *to)
{
    static const char *const headers[] = {"Content-Type: text/plain; charset=utf-8",
                                          NULL};
    const struct config *c = ctx->config;
    const struct weir_request request = {.size = sizeof(request),
                                         .url = c->url,
                                         .headers = headers,
                                         .body = value->as.s,
                                         .body_size = value->size};
    return to->request(ctx, to, &request);
}

/* What a reply means: here a number as text. Anything may come, believe nothing. */
static int read_reply(struct weir_ctx *ctx, const struct weir_reply *reply,
                      struct weir_out *out)
{
    char *end;
    if (reply->status == 404)
        return 0; /* it knows nothing of the value: null */
    if (reply->status != 200) {
        weir_fail(ctx, "HTTP status %d", (int)reply->status);
        return WEIR_NO_ANSWER;
    }
    double number = strtod(reply->body, &end);
    if (end == reply->body) {
        weir_fail(ctx, "the reply is no number");
        return WEIR_NO_ANSWER;
    }
    return weir_put_float(ctx, out, 0, number);
}

static const struct weir_async async = {
    .size = sizeof(async), .answers = answers, .ask = ask, .read = read_reply};

/* ---- Folding: answers come as columns do ---- */

/* Folds one row in. */
static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    if (weir_is_null(r->in[ANSWER], row))
        return;
    s->answered++;
    s->total += weir_number(r->in[ANSWER], row);
}

WEIR_STEP(update, struct state, step)

/* Two parts of a window become one, in any order. */
static int merge_one(struct weir_ctx *ctx, struct state *a, const struct state *b,
                     const struct weir_window *window)
{
    (void)ctx;
    (void)window;
    a->answered += b->answered;
    a->total += b->total;
    return 0;
}

WEIR_MERGE(merge, struct state, merge_one)

/* A result is due. A cell that nothing is put into is null. */
static int emit_one(struct weir_ctx *ctx, const struct state *s,
                    const struct weir_window *window, struct weir_out *out)
{
    (void)window;
    if (s->answered == 0)
        return 0;
    return weir_put_float(ctx, out, 0, s->total / (double)s->answered);
}

WEIR_EMIT(emit, struct state, emit_one)

static const struct weir_param params[] = {
    {.name = "of",
     .type = WEIR_PARAM_COLUMN,
     .flags = WEIR_REQUIRED | WEIR_ASKED,
     .offset = offsetof(struct config, of),
     .help = "the column whose values are asked about",
     .column_types = WEIR_TYPES(WEIR_STRING)},
    {.name = "url",
     .type = WEIR_PARAM_STRING,
     .init = "http://127.0.0.1:8000/",
     .offset = offsetof(struct config, url),
     .help = "who is asked"},
    {.name = NULL},
};

static const struct weir_output outputs[] = {
    {.name = "{of}_@", .type = WEIR_FLOAT, .help = "mean of what the service says"},
    {.name = NULL},
};

static const struct weir_analyzer analyzer = {
    .name = "@",
    .version = "0.1",
    .help = "Mean of what a service says about a column",
    .threads = WEIR_THREADS_CTX,
    .params = params,
    .outputs = outputs,
    .config_size = sizeof(struct config),
    .state_size = sizeof(struct state),
    .update = update,
    .merge = merge,
    .emit = emit,
    .async = &async,
};
WEIR_PLUGIN(analyzer);
