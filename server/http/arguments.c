/* SPDX-License-Identifier: Apache-2.0
 *
 * What handlers ask of a request. For a query all of it is copied first: the connection may be closed,
 * and MHD's memory with it, while the query thread still reads.
 */
#include "http/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *fields_find(const struct http_request *r, enum MHD_ValueKind kind,
                               const char *name)
{
    if (!r->copy)
        return MHD_lookup_connection_value(r->connection, kind, name);
    for (size_t i = 0; i < r->n_copy; i++) {
        const struct http_pair *p = &r->copy[i];
        if (p->kind == kind && (kind == MHD_HEADER_KIND ? strcasecmp(p->name, name)
                                                        : strcmp(p->name, name)) == 0)
            return p->value;
    }
    return NULL;
}

const char *http_query(const struct http_request *r, const char *name)
{
    return fields_find(r, MHD_GET_ARGUMENT_KIND, name);
}

const char *http_header(const struct http_request *r, const char *name)
{
    return fields_find(r, MHD_HEADER_KIND, name);
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
    return r->length;
}

struct fields_each {
    bool (*call)(void *ctx, const char *name, const char *value);
    void *ctx;
};

static enum MHD_Result fields_each_one(void *cls, enum MHD_ValueKind kind,
                                       const char *name, const char *value)
{
    const struct fields_each *e = cls;
    (void)kind;
    if (!*name && (!value || !*value))
        return MHD_YES; /* "?a=1&" ends in nothing */
    return e->call(e->ctx, name, value ? value : "") ? MHD_YES : MHD_NO;
}

void http_each_query(const struct http_request *r,
                     bool (*call)(void *ctx, const char *name, const char *value),
                     void *ctx)
{
    if (!r->copy) {
        struct fields_each e = {call, ctx};
        MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, fields_each_one,
                                  &e);
        return;
    }
    for (size_t i = 0; i < r->n_copy; i++)
        if (r->copy[i].kind == MHD_GET_ARGUMENT_KIND &&
            !call(ctx, r->copy[i].name, r->copy[i].value))
            return;
}

/* Counts on the first pass, copies on the second. */
struct fields_copying {
    struct http_pair *pair;
    char *text;
    size_t n, size;
};

static char *fields_copy_text(struct fields_copying *c, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = c->text;
    if (copy) {
        memcpy(copy, text, size);
        c->text += size;
    }
    c->size += size;
    return copy;
}

static enum MHD_Result fields_copy_one(void *cls, enum MHD_ValueKind kind,
                                       const char *name, const char *value)
{
    struct fields_copying *c = cls;
    if (!*name && (!value || !*value))
        return MHD_YES; /* as in fields_each_one */
    struct http_pair p = {kind, fields_copy_text(c, name),
                          fields_copy_text(c, value ? value : "")};
    if (c->pair)
        c->pair[c->n] = p;
    c->n++;
    return MHD_YES;
}

static void fields_copy_all(struct http_request *r, struct fields_copying *c)
{
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, fields_copy_one, c);
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, fields_copy_one, c);
    char *path = fields_copy_text(c, r->path);
    if (path)
        r->path = path;
}

int fields_copy(struct http_request *r)
{
    struct fields_copying c = {0};
    fields_copy_all(r, &c);
    struct http_pair *pair = malloc((c.n + 1) * sizeof(*pair) + c.size);
    if (!pair)
        return -ENOMEM;
    c = (struct fields_copying){.pair = pair, .text = (char *)(pair + c.n + 1)};
    fields_copy_all(r, &c);
    r->copy = pair;
    r->n_copy = c.n;
    return 0;
}
