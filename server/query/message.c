/* SPDX-License-Identifier: Apache-2.0
 *
 * Questions and answers as bytes.
 */
#include "query/message.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

const char *const query_cut_word[] = {[QUERY_WHOLE] = NULL,
                                      [QUERY_CUT_ROWS] = "rows",
                                      [QUERY_CUT_BYTES] = "bytes",
                                      [QUERY_CUT_TIME] = "time"};
#define QUERY_CUTS (sizeof(query_cut_word) / sizeof(query_cut_word[0]))

/* ---- Small parts ---- */

#define PUT(to, value) buffer_put(to, &(value), sizeof(value))

static void put_text(struct buffer *to, const char *text, size_t size)
{
    uint32_t n = (uint32_t)size;
    PUT(to, n);
    buffer_put(to, text, size);
}

struct query_bytes { /* what has not been read yet */
    const char *at;
    size_t left;
    bool short_of; /* sticky: there was less than was asked for */
};

static void take(struct query_bytes *b, void *ret, size_t size)
{
    if (b->left < size) {
        b->short_of = true;
        memset(ret, 0, size);
        return;
    }
    memcpy(ret, b->at, size);
    b->at += size;
    b->left -= size;
}
#define TAKE(b, ret) take(b, ret, sizeof(*(ret)))

static const char *take_text(struct query_bytes *b, size_t *ret_size)
{
    uint32_t n;
    TAKE(b, &n);
    if (b->left < n) {
        b->short_of = true;
        n = 0;
    }
    const char *text = b->at;
    b->at += n;
    b->left -= n;
    *ret_size = n;
    return text;
}

/* ---- The question ---- */

/*      format u8, times u8, head_only u8, only u8, timeout i64, max_rows u64, max_bytes u64, tables, statement,
 *      number of parameters u32,
 *      each:  named u8, name or place u32, type u8, value
 *      texts: size u32, bytes
 */
static void put_param(struct buffer *to, const struct query_param *p)
{
    uint8_t named = p->name != NULL, type = (uint8_t)p->type;
    PUT(to, named);
    if (named)
        put_text(to, p->name, p->name_size);
    else
        PUT(to, p->place);
    PUT(to, type);
    switch (p->type) {
    case QUERY_INT:
        PUT(to, p->number);
        break;
    case QUERY_FLOAT:
        PUT(to, p->real);
        break;
    case QUERY_TEXT:
        put_text(to, p->text, p->size);
        break;
    case QUERY_NULL:
        break;
    }
}

void query_ask_put(const struct query_ask *ask, struct buffer *to)
{
    size_t begin = to->size;
    uint32_t size = 0, n_params = (uint32_t)ask->n_params;
    uint8_t format = (uint8_t)ask->format, times = (uint8_t)ask->times,
            head_only = ask->head_only, only = ask->only;
    PUT(to, size);
    PUT(to, format);
    PUT(to, times);
    PUT(to, head_only);
    PUT(to, only);
    PUT(to, ask->timeout_us);
    PUT(to, ask->max_rows);
    PUT(to, ask->max_bytes);
    put_text(to, ask->tables, ask->tables_size);
    put_text(to, ask->sql, ask->sql_size);
    PUT(to, n_params);
    for (size_t i = 0; i < ask->n_params; i++)
        put_param(to, &ask->param[i]);
    if (to->error)
        return;
    size = (uint32_t)(to->size - begin - sizeof(size));
    memcpy(to->data + begin, &size, sizeof(size));
}

static bool take_param(struct query_bytes *b, struct query_param *p)
{
    uint8_t named, type;
    *p = (struct query_param){0};
    TAKE(b, &named);
    if (named)
        p->name = take_text(b, &p->name_size);
    else
        TAKE(b, &p->place);
    TAKE(b, &type);
    p->type = (enum query_type)type;
    switch (p->type) {
    case QUERY_INT:
        TAKE(b, &p->number);
        break;
    case QUERY_FLOAT:
        TAKE(b, &p->real);
        break;
    case QUERY_TEXT:
        p->text = take_text(b, &p->size);
        break;
    case QUERY_NULL:
        break;
    default:
        return false;
    }
    return named <= 1 && !b->short_of;
}

int query_ask_take(const char *bytes, size_t size, struct query_param *param,
                   struct query_ask *ret)
{
    struct query_bytes b = {.at = bytes, .left = size};
    struct query_ask ask = {.param = param};
    uint8_t format, times, head_only, only;
    uint32_t n_params;
    TAKE(&b, &format);
    TAKE(&b, &times);
    TAKE(&b, &head_only);
    TAKE(&b, &only);
    TAKE(&b, &ask.timeout_us);
    TAKE(&b, &ask.max_rows);
    TAKE(&b, &ask.max_bytes);
    ask.tables = take_text(&b, &ask.tables_size);
    ask.sql = take_text(&b, &ask.sql_size);
    TAKE(&b, &n_params);
    if (b.short_of || format >= ROWOUT_FORMATS || times > ROWOUT_S || head_only > 1 ||
        only > 1 || (ask.tables_size && ask.tables[ask.tables_size - 1]) ||
        ask.timeout_us < 1 || n_params > QUERY_PARAMS_MAX)
        return -EPROTO;
    for (uint32_t i = 0; i < n_params; i++)
        if (!take_param(&b, &param[i]))
            return -EPROTO;
    if (b.left)
        return -EPROTO;
    ask.format = (enum rowout_format)format;
    ask.times = (enum rowout_times)times;
    ask.head_only = head_only;
    ask.only = only;
    ask.n_params = n_params;
    *ret = ask;
    return 0;
}

/* ---- The answer ---- */

static void put_frame(struct buffer *to, uint32_t kind, size_t size)
{
    uint32_t n = (uint32_t)size;
    assert(size <= QUERY_FRAME_MAX);
    PUT(to, kind);
    PUT(to, n);
}

void query_put_head(struct buffer *to, enum query_cut cut)
{
    uint8_t c = (uint8_t)cut;
    put_frame(to, QUERY_HEAD, sizeof(c));
    PUT(to, c);
}

void query_put_data(struct buffer *to, const char *bytes, size_t size)
{
    for (size_t n; size > 0; bytes += n, size -= n) {
        n = size < QUERY_FRAME_MAX ? size : QUERY_FRAME_MAX;
        put_frame(to, QUERY_DATA, n);
        buffer_put(to, bytes, n);
    }
}

/*      END     spent u8, missing u8
 *      FAILED  spent u8, err i32, offset i32, text
 */
void query_put_end(struct buffer *to, const struct query_end *end)
{
    uint8_t spent = end->spent, missing = end->missing;
    size_t text = strnlen(end->error.text, sizeof(end->error.text));
    if (end->err)
        put_frame(to, QUERY_FAILED,
                  sizeof(spent) + sizeof(end->err) + sizeof(end->offset) + text);
    else
        put_frame(to, QUERY_END, sizeof(spent) + sizeof(missing));
    PUT(to, spent);
    if (end->err) {
        PUT(to, end->err);
        PUT(to, end->offset);
        buffer_put(to, end->error.text, text);
    } else {
        PUT(to, missing);
    }
}

static int take_head(struct query_answer *a, struct query_bytes *b,
                     const struct query_sink *sink)
{
    uint8_t cut;
    TAKE(b, &cut);
    if (b->short_of || b->left || a->begun || cut >= QUERY_CUTS)
        return -EPROTO;
    a->begun = true;
    return sink->head(sink->ctx, (enum query_cut)cut);
}

static int take_end(struct query_answer *a, struct query_bytes *b)
{
    uint8_t spent, missing;
    TAKE(b, &spent);
    TAKE(b, &missing);
    if (b->short_of || b->left || !a->begun || spent > 1 || missing > 1)
        return -EPROTO;
    a->end = (struct query_end){.spent = spent, .missing = missing, .offset = -1};
    a->ended = true;
    return 0;
}

static int take_failed(struct query_answer *a, struct query_bytes *b)
{
    struct query_end end = {0};
    uint8_t spent;
    TAKE(b, &spent);
    TAKE(b, &end.err);
    TAKE(b, &end.offset);
    if (b->short_of || spent > 1 || end.err >= 0 || end.err < -4095 ||
        end.offset < -1 || b->left >= sizeof(end.error.text) ||
        memchr(b->at, 0, b->left))
        return -EPROTO;
    memcpy(end.error.text, b->at, b->left);
    end.spent = spent;
    a->end = end;
    a->ended = true;
    return 0;
}

static int take_frame(struct query_answer *a, uint32_t kind, struct query_bytes b,
                      const struct query_sink *sink)
{
    switch (kind) {
    case QUERY_HEAD:
        return take_head(a, &b, sink);
    case QUERY_DATA:
        return a->begun && b.left ? sink->data(sink->ctx, b.at, b.left) : -EPROTO;
    case QUERY_END:
        return take_end(a, &b);
    case QUERY_FAILED:
        return take_failed(a, &b);
    default:
        return -EPROTO;
    }
}

ssize_t query_answer_take(struct query_answer *a, const char *bytes, size_t size,
                          const struct query_sink *sink)
{
    size_t taken = 0;
    while (!a->ended && size - taken >= QUERY_FRAME_HEAD) {
        uint32_t head[2]; /* kind, size */
        memcpy(head, bytes + taken, sizeof(head));
        if (head[1] > QUERY_FRAME_MAX)
            return -EPROTO;
        if (size - taken - QUERY_FRAME_HEAD < head[1])
            break;
        struct query_bytes b = {.at = bytes + taken + QUERY_FRAME_HEAD,
                                .left = head[1]};
        int err = take_frame(a, head[0], b, sink);
        if (err)
            return err;
        taken += QUERY_FRAME_HEAD + head[1];
    }
    return (ssize_t)taken;
}
