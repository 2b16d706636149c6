/* SPDX-License-Identifier: Apache-2.0
 *
 * What handlers ask of a request. Its head stays where it is until the request is over, whoever has it.
 */
#include "http/internal.h"

#include <string.h>
#include <strings.h>

const char *http_query(const struct http_request *r, const char *name)
{
    for (size_t i = r->head.n_fields; i < r->head.n_pairs; i++)
        if (strcmp(r->head.pair[i].name, name) == 0)
            return r->head.pair[i].value;
    return NULL;
}

const char *http_argument(const struct http_request *r, size_t i, const char **ret_name,
                          size_t *ret_size)
{
    if (i >= r->head.n_pairs - r->head.n_fields)
        return NULL;
    const struct head_pair *p = &r->head.pair[r->head.n_fields + i];
    *ret_name = p->name;
    *ret_size = p->value_size;
    return p->value;
}

bool http_argument_again(const struct http_request *r, size_t i)
{
    const struct head_pair *argument = r->head.pair + r->head.n_fields;
    for (size_t k = 0; k < i; k++)
        if (strcmp(argument[k].name, argument[i].name) == 0)
            return true;
    return false;
}

/* The next field of that name, from the i-th on. */
static const char *arguments_field(const struct http_request *r, const char *name,
                                   size_t *i)
{
    while (*i < r->head.n_fields) {
        const struct head_pair *p = &r->head.pair[(*i)++];
        if (((p->name[0] ^ name[0]) & ~32) == 0 && strcasecmp(p->name, name) == 0)
            return p->value;
    }
    return NULL;
}

const char *http_header(const struct http_request *r, const char *name)
{
    size_t i = 0;
    return arguments_field(r, name, &i);
}

const char *http_header_list(struct http_request *r, const char *name)
{
    size_t i = 0;
    const char *first = arguments_field(r, name, &i);
    const char *more = first ? arguments_field(r, name, &i) : NULL;
    if (!more)
        return first;
    buffer_clear(&r->list);
    buffer_puts(&r->list, first);
    for (; more; more = arguments_field(r, name, &i)) {
        buffer_puts(&r->list, ", ");
        buffer_puts(&r->list, more);
    }
    return r->list.error ? first : buffer_text(&r->list);
}

const char *http_method(const struct http_request *r)
{
    return r->method;
}

const char *http_path(const struct http_request *r)
{
    return r->path;
}

const char *http_body(const struct http_request *r, size_t *size)
{
    *size = r->body.size;
    return r->body.size ? r->body.data : "";
}

bool http_has_length(const struct http_request *r)
{
    return !r->chunked;
}

uint64_t http_length(const struct http_request *r)
{
    return r->head.length;
}

void http_each_query(const struct http_request *r,
                     bool (*call)(void *ctx, const char *name, const char *value),
                     void *ctx)
{
    for (size_t i = r->head.n_fields; i < r->head.n_pairs; i++)
        if (!call(ctx, r->head.pair[i].name, r->head.pair[i].value))
            return;
}
