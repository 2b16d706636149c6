/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server and a process that runs SQL say to each other, and the JSON body that a question is made of. The first byte
 * chooses:
 *
 *      q  a question: refused, or put again as the same bytes
 *      a  an answer, once as a whole and once in pieces of the size that the second byte says: the same comes of both
 *      b  the body of POST /api/v1/sql
 */
#include "api/sqlbody.h"
#include "query/message.h"

#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void broken(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static unsigned sum_of(const char *bytes, size_t size)
{
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++) /* a sanitizer sees what lies outside */
        sum = sum * 31 + (unsigned char)bytes[i];
    return sum;
}

static void question(const char *bytes, size_t size)
{
    static struct query_param param[QUERY_PARAMS_MAX];
    struct query_ask ask;
    struct buffer again = {0};
    int err = query_ask_take(bytes, size, param, &ask);
    if (err == -EPROTO)
        return;
    if (err || ask.timeout_us < 1 || ask.n_params > QUERY_PARAMS_MAX)
        broken("neither taken nor refused");
    query_ask_put(&ask, &again);
    if (again.size != size + sizeof(uint32_t) ||
        memcmp(again.data + sizeof(uint32_t), bytes, size) != 0)
        broken("another question");
    buffer_free(&again);
}

struct seen {
    bool head;
    unsigned cut, sum;
    size_t size;
};

static int on_head(void *ctx, enum query_cut cut)
{
    struct seen *s = ctx;
    if (s->head || s->size || cut > QUERY_CUT_TIME)
        broken("a head");
    s->head = true;
    s->cut = cut;
    return 0;
}

static int on_data(void *ctx, const char *bytes, size_t size)
{
    struct seen *s = ctx;
    if (!s->head || size == 0 || size > QUERY_FRAME_MAX)
        broken("data");
    s->sum = s->sum * 31 + sum_of(bytes, size);
    s->size += size;
    return 0;
}

/* As the server reads: what is not a whole frame yet is kept. */
static int answer(const char *bytes, size_t size, size_t piece, struct query_answer *a,
                  struct seen *seen)
{
    static char in[QUERY_FRAME_HEAD + QUERY_FRAME_MAX];
    const struct query_sink sink = {.head = on_head, .data = on_data, .ctx = seen};
    size_t n = 0;
    while (size > 0 && !a->ended) {
        size_t more = piece < sizeof(in) - n ? piece : sizeof(in) - n;
        if (more > size)
            more = size;
        if (more == 0)
            broken("no room for a frame");
        memcpy(in + n, bytes, more);
        bytes += more, size -= more, n += more;
        ssize_t taken = query_answer_take(a, in, n, &sink);
        if (taken < 0)
            return (int)taken;
        n -= (size_t)taken;
        memmove(in, in + taken, n);
    }
    return 0;
}

static void answers(const char *bytes, size_t size, size_t piece)
{
    struct query_answer whole = {0}, cut = {0};
    struct seen a = {0}, b = {0};
    int err = answer(bytes, size, SIZE_MAX, &whole, &a);
    if ((err && err != -EPROTO) || (whole.ended && whole.end.err > 0))
        broken("neither taken nor refused");
    if (whole.ended && !whole.end.err && !whole.begun)
        broken("an end without a head");
    if (answer(bytes, size, piece, &cut, &b) != err || cut.ended != whole.ended ||
        cut.begun != whole.begun || a.sum != b.sum || a.size != b.size ||
        a.cut != b.cut || cut.end.err != whole.end.err ||
        cut.end.offset != whole.end.offset || cut.end.spent != whole.end.spent ||
        cut.end.missing != whole.end.missing ||
        strcmp(cut.end.error.text, whole.end.error.text) != 0)
        broken("pieces make a difference");
}

static void body(const char *bytes, size_t size)
{
    struct sqlbody b;
    struct error error = {""};
    int err = sqlbody_parse(bytes, size, &b, &error);
    if (err == -EINVAL && error.text[0])
        return;
    if (err || b.n_params > QUERY_PARAMS_MAX)
        broken("neither taken nor refused");
    unsigned sum = sum_of(b.sql ? b.sql : "", b.sql_size);
    for (size_t i = 0; i < b.n_params; i++) {
        const struct query_param *p = &b.param[i];
        sum += sum_of(p->name ? p->name : "", p->name_size);
        sum += p->type == QUERY_TEXT ? sum_of(p->text, p->size) : 0;
    }
    __asm__ volatile("" ::"r"(sum));
    sqlbody_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    if (size < 2)
        return 0;
    if (bytes[0] == 'q')
        question(bytes + 1, size - 1);
    else if (bytes[0] == 'a')
        answers(bytes + 2, size - 2, data[1] ? data[1] : 1);
    else
        body(bytes + 1, size - 1);
    return 0;
}
