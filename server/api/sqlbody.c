/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON body of POST /api/v1/sql, read by the parts of the JSON decoder that check strings and numbers.
 */
#include "api/sqlbody.h"
#include "api/rows.h"
#include "decode/number.h"
#include "decode/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct body_reader {
    struct record record;   /* for its faults, and its white space */
    const char *begin, *at; /* zeros stand behind the end */
    char *free; /* in ret->text: no string is longer than it is in the body */
    struct sqlbody *ret;
    struct error *error;
};

static const uint8_t body_space[256] = {[' '] = 1, ['\t'] = 1, ['\n'] = 1, ['\r'] = 1};

static int body_no_json(struct body_reader *b, const char *at, const char *what)
{
    return error_set(b->error, -EINVAL, "the body is no JSON at byte %zu: %s",
                     (size_t)(at - b->begin) + 1, what);
}

static char body_peek(struct body_reader *b)
{
    b->at = record_skip_space(&b->record, b->at);
    return *b->at;
}

static bool body_take(struct body_reader *b, char c)
{
    if (body_peek(b) != c)
        return false;
    b->at++;
    return true;
}

/* With a zero behind it. */
static int body_string(struct body_reader *b, const char **ret, size_t *ret_size)
{
    bool escapes;
    const char *text = b->at + 1, *end = text_check(&b->record, text, &escapes);
    if (!end)
        return body_no_json(b, b->record.fault.at, b->record.fault.message);
    size_t size = text_unescape(b->free, text, end);
    b->free[size] = 0;
    *ret = b->free;
    *ret_size = size;
    b->free += size + 1; /* the quotes leave room */
    b->at = end + 1;
    return 0;
}

static int body_number(struct body_reader *b, struct query_param *p)
{
    struct number n;
    const char *problem;
    const char *end = number_scan(b->at, &n, &problem);
    if (!end)
        return body_no_json(b, n.end, problem);
    bool whole = true;
    for (const char *c = b->at; whole && c < end; c++)
        whole = *c != '.' && (*c | 0x20) != 'e';
    p->type = QUERY_INT;
    if (!whole ||
        number_to_int(&n, &p->number)) { /* too large for one: as SQLite does */
        locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        int err = number_to_double(&n, c_locale, &p->real);
        freelocale(c_locale);
        if (err)
            return body_no_json(b, b->at, "a number is too large");
        p->type = QUERY_FLOAT;
    }
    b->at = end;
    return 0;
}

static bool body_word(struct body_reader *b, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(b->at, word, n) != 0)
        return false;
    b->at += n;
    return true;
}

/* A value that a parameter can have; `what` is its name or place. */
static int body_value(struct body_reader *b, struct query_param *p, const char *what)
{
    switch (body_peek(b)) {
    case '"':
        p->type = QUERY_TEXT;
        return body_string(b, &p->text, &p->size);
    case '{':
        return error_set(b->error, -EINVAL, "params: '%.100s' is an object", what);
    case '[':
        return error_set(b->error, -EINVAL, "params: '%.100s' is an array", what);
    default:
        break;
    }
    p->type = QUERY_NULL;
    if (body_word(b, "null"))
        return 0;
    p->type = QUERY_INT;
    p->number = *b->at == 't';
    if (body_word(b, "true") || body_word(b, "false"))
        return 0;
    if (*b->at != '-' && !(*b->at >= '0' && *b->at <= '9'))
        return body_no_json(b, b->at, "expected a value");
    return body_number(b, p);
}

/* A key and its colon. */
static int body_key(struct body_reader *b, const char **ret, size_t *ret_size)
{
    if (body_peek(b) != '"')
        return body_no_json(b, b->at, "expected a key in quotes");
    int err = body_string(b, ret, ret_size);
    if (!err && !body_take(b, ':'))
        err = body_no_json(b, b->at, "expected ':' after a key");
    return err;
}

static int body_param(struct body_reader *b, bool object)
{
    struct sqlbody *x = b->ret;
    char place[16];
    if (x->n_params == QUERY_PARAMS_MAX)
        return error_set(b->error, -EINVAL, "params: there are more than %u",
                         QUERY_PARAMS_MAX);
    struct query_param *p = &x->param[x->n_params];
    p->place = (uint32_t)++x->n_params;
    snprintf(place, sizeof(place), "%u", p->place);
    int err = object ? body_key(b, &p->name, &p->name_size) : 0;
    for (const struct query_param *q = x->param; !err && object && q < p; q++)
        if (q->name_size == p->name_size && !memcmp(q->name, p->name, p->name_size))
            return error_set(b->error, -EINVAL, "params: '%.100s' is given twice",
                             p->name);
    return err ? err : body_value(b, p, object ? p->name : place);
}

static int body_params(struct body_reader *b)
{
    bool object = body_take(b, '{');
    if (b->ret->has_params || (!object && !body_take(b, '[')))
        return error_set(b->error, -EINVAL,
                         "params: it is neither an object nor an array");
    b->ret->has_params = true;
    char end = object ? '}' : ']';
    if (body_take(b, end))
        return 0;
    b->ret->param = calloc(QUERY_PARAMS_MAX, sizeof(*b->ret->param));
    if (!b->ret->param)
        return error_set(b->error, -ENOMEM, "out of memory");
    int err;
    do
        err = body_param(b, object);
    while (!err && body_take(b, ','));
    if (!err && !body_take(b, end))
        err = body_no_json(b, b->at, "expected ',' or the end of params");
    return err;
}

static int body_timeout(struct body_reader *b)
{
    struct query_param p;
    int err = body_value(b, &p, "timeout_ms");
    if (err)
        return err;
    if (p.type != QUERY_INT || p.number < 1 || p.number > ROWS_TIMEOUT_MS_MAX)
        return error_set(b->error, -EINVAL, "timeout_ms: it is not 1 to %d",
                         ROWS_TIMEOUT_MS_MAX);
    b->ret->timeout_ms = p.number;
    return 0;
}

static int body_text(struct body_reader *b, const char *name, const char **ret,
                     size_t *ret_size)
{
    if (body_peek(b) != '"')
        return error_set(b->error, -EINVAL, "%s: it is no string", name);
    return body_string(b, ret, ret_size);
}

static int body_member(struct body_reader *b)
{
    const char *key;
    size_t size;
    int err = body_key(b, &key, &size);
    if (err)
        return err;
    if (strlen(key) != size)
        key = "";
    if (strcmp(key, "sql") == 0)
        return b->ret->sql
                   ? error_set(b->error, -EINVAL, "the statement is given twice")
                   : body_text(b, "sql", &b->ret->sql, &b->ret->sql_size);
    if (strcmp(key, "params") == 0)
        return body_params(b);
    if (strcmp(key, "timeout_ms") == 0)
        return body_timeout(b);
    const bool times = strcmp(key, "times") == 0;
    if (!times && strcmp(key, "format") != 0)
        return error_set(
            b->error, -EINVAL,
            "unknown member '%.100s'; there are sql, params, timeout_ms, format, times",
            key);
    const char **to = times ? &b->ret->times : &b->ret->format;
    const char *name = times ? "times" : "format";
    err = body_text(b, name, to, &size);
    return !err && strlen(*to) != size
               ? error_set(b->error, -EINVAL, "%s: it holds a zero character", name)
               : err;
}

static int body_object(struct body_reader *b)
{
    if (!body_take(b, '{'))
        return error_set(b->error, -EINVAL, "the body is no JSON object");
    int err = 0;
    bool end = body_take(b, '}');
    while (!err && !end) {
        err = body_member(b);
        end = !err && body_take(b, '}');
        if (!err && !end && !body_take(b, ','))
            err = body_no_json(b, b->at, "expected ',' or '}' after a member");
    }
    if (!err)
        body_peek(b);
    return err;
}

int sqlbody_parse(const char *body, size_t size, struct sqlbody *ret,
                  struct error *error)
{
    /* The decoder's parts may read a little behind a text, and see zeros there. */
    char *padded = calloc(1, size + RECORD_PAD);
    struct sqlbody b = {.text = malloc(size + 1)};
    int err = padded && b.text ? 0 : error_set(error, -ENOMEM, "out of memory");
    if (!err) {
        memcpy(padded, body, size);
        struct body_reader r = {.record = {.space = body_space},
                                .begin = padded,
                                .at = padded,
                                .free = b.text,
                                .ret = &b,
                                .error = error};
        err = body_object(&r);
        if (!err && r.at != padded + size)
            err = body_no_json(&r, r.at, "unexpected text after the object");
    }
    free(padded);
    if (err)
        sqlbody_free(&b);
    else
        *ret = b;
    return err;
}

void sqlbody_free(struct sqlbody *b)
{
    free(b->param);
    free(b->text);
    *b = (struct sqlbody){0};
}
