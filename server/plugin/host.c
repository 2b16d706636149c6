/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/host.h"

#include "base/logger.h"
#include "base/metrics.h"
#include "base/utf8.h"
#include "plugin/slabs.h"

#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(offsetof(struct host, ctx) == 0, "plugins give us back &host->ctx");
static_assert(offsetof(struct host_asked, asked) == 0, "likewise");
static_assert(sizeof(struct weir_host) <= PLUGIN_ROOM &&
                  sizeof(union host_rows) == PLUGIN_ROOM &&
                  sizeof(union host_window) == PLUGIN_ROOM &&
                  sizeof(union host_reply) == PLUGIN_ROOM,
              "what is handed to plugins has room for those of later headers");

/* In front of each block that alloc gives and slabs do not have. */
struct block_head {
    alignas(16) size_t size;
};

#define SLABS_FROM ((size_t)256 << 10) /* bytes that a context holds */
#define UNTOLD_MAX ((size_t)1 << 20)   /* bytes that total is wrong by, in a call */

static struct host *host_of(struct weir_ctx *ctx)
{
    return (struct host *)(void *)ctx;
}

static int host_fail(struct weir_ctx *ctx, const char *format, ...)
{
    struct host *h = host_of(ctx);
    va_list args;
    va_start(args, format);
    if (!h->failed)
        vsnprintf(h->error.text, sizeof(h->error.text), format, args);
    va_end(args);
    return -1;
}

/* The plugin did what it must not. */
static int broken(struct host *h, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static int broken(struct host *h, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!h->failed)
        vsnprintf(h->error.text, sizeof(h->error.text), format, args);
    va_end(args);
    h->failed = true;
    return -1;
}

static void host_log(struct weir_ctx *ctx, enum weir_level level, const char *format,
                     ...)
{
    static const enum logger_level levels[] = {LOGGER_DEBUG, LOGGER_INFO, LOGGER_WARN,
                                               LOGGER_ERROR};
    struct host *h = host_of(ctx);
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    logger_write(level <= WEIR_ERROR ? levels[level] : LOGGER_ERROR, "plugin",
                 "pipeline '%s', analyzer '%s': %s", h->pipeline,
                 h->binding->plugin->analyzer.name, text);
}

void host_tell_memory(struct host *h)
{
    if (h->total && h->memory != h->told)
        atomic_fetch_add_explicit(h->total, h->memory - h->told, memory_order_relaxed);
    h->told = h->memory;
}

/* What others share is not written for each block: a processor would wait until all that it wrote before has arrived, and
 * blocks that are given back are far away. */
static void count_memory(struct host *h, size_t more, size_t less)
{
    h->memory += more - less;
    if (h->memory - h->told + UNTOLD_MAX > 2 * UNTOLD_MAX)
        host_tell_memory(h);
}

static struct slabs *new_slabs(void)
{
    struct slabs *s = malloc(sizeof(*s));
    if (s && slabs_init(s, HOST_MEMORY_MAX) == 0)
        return s;
    free(s);
    return NULL;
}

/* Few blocks, and large ones, are malloc's. NULL: no memory; otherwise *size is what it takes. */
static void *take_block(struct host *h, size_t *size)
{
    if (!h->slabs && !h->no_slabs && h->memory >= SLABS_FROM) {
        h->slabs = new_slabs();
        h->no_slabs = !h->slabs;
    }
    if (h->slabs && *size <= SLABS_BLOCK_MAX) {
        void *block = slabs_take(h->slabs, *size);
        *size = block ? slabs_size(*size) : *size;
        if (block)
            return block;
    }
    struct block_head *b = calloc(1, sizeof(*b) + *size);
    if (!b)
        return NULL;
    b->size = *size;
    return b + 1;
}

static void *host_alloc(struct weir_ctx *ctx, size_t size)
{
    struct host *h = host_of(ctx);
    bool fits = size <= HOST_MEMORY_MAX && h->memory + size <= HOST_MEMORY_MAX;
    void *block = fits ? take_block(h, &size) : NULL;
    if (!block) {
        /* Its own text, if it has one, takes the place of this one. */
        host_fail(ctx, "no memory: it holds %zu bytes, and asked for %zu more%s",
                  h->memory, size, fits ? "" : "; 4 GiB are the limit");
        return NULL;
    }
    count_memory(h, size, 0);
    return block;
}

static void host_free(struct weir_ctx *ctx, void *p)
{
    struct host *h = host_of(ctx);
    if (!p)
        return;
    if (h->slabs && slabs_has(h->slabs, p)) {
        count_memory(h, 0, slabs_size_of(h->slabs, p));
        slabs_give(h->slabs, p);
        return;
    }
    struct block_head *b = (struct block_head *)p - 1;
    count_memory(h, 0, b->size);
    free(b);
}

static void host_skip(struct weir_ctx *ctx, uint32_t reason, uint64_t rows)
{
    struct host *h = host_of(ctx);
    size_t n = h->binding->plugin->n_reasons;
    if (reason >= n)
        broken(h, "skip: there is no reason %u, it declares %zu", reason, n);
    else if (h->skipped)
        metric_add(&h->skipped[reason], rows);
}

static int host_outputs(struct weir_ctx *ctx, const struct weir_output *outputs)
{
    struct host *h = host_of(ctx);
    struct error error = {0};
    if (!h->opening || h->binding->plugin->analyzer.outputs)
        return broken(h, "outputs: only open can describe them, and only where the "
                         "table is NULL");
    return binding_describe(h->binding, outputs, &error) ? broken(h, "%s", error.text)
                                                         : 0;
}

/* Binding and parameters decide what is left out, so that every context says the same. */
static int host_leave_out(struct weir_ctx *ctx, uint32_t input)
{
    struct host *h = host_of(ctx);
    if (!h->opening || !(h->binding->plugin->analyzer.flags & WEIR_WHOLE))
        return broken(h, "leave_out: only open can, of an analyzer that takes all rows "
                         "at once (WEIR_WHOLE)");
    if (input >= h->ctx.n_inputs)
        return broken(h, "leave_out: there is no input %u", input);
    h->binding->left_out[input] = true;
    return 0;
}

static int host_form(struct weir_ctx *ctx, const char *text)
{
    struct host *h = host_of(ctx);
    struct error error = {0};
    if (!h->opening || !text)
        return broken(h, "form: only open can say it, as text");
    return binding_form(h->binding, text, &error) ? broken(h, "%s", error.text) : 0;
}

/* ---- Results ---------------------------------------------------------------------------------- */

static int unfinished(struct host *h)
{
    return broken(h, "cells were put behind the last row of a group");
}

static int host_group(struct weir_ctx *ctx, struct weir_out *out, size_t i)
{
    struct host *h = host_of(ctx);
    if (!out || !out->group)
        return broken(h, "group: it was called where no results are expected");
    if (i >= out->n || i < out->next)
        return broken(h, "group: %zu came, of %zu those from %zu on can", i, out->n,
                      out->next);
    if (out->put)
        return unfinished(h);
    out->next = i + 1;
    out->rows = 0;
    out->cell = out->group(out->ctx, i);
    return out->cell ? 0 : broken(h, "no memory for results");
}

static __attribute__((noinline, cold)) void
refuse_cell(struct host *h, const struct weir_out *out, const char *call, uint32_t cell)
{
    const struct binding *b = h->binding;
    if (!out || !out->cell)
        broken(h, "%s: there is no group that the cell is of", call);
    else if (cell >= b->n_cells)
        broken(h, "%s: there is no cell %u, it declares %zu %s", call, cell, b->n_cells,
               b->cell == b->answer ? "answers" : "outputs");
    else
        broken(h, "%s: cell %u is declared as %s", call, cell,
               schema_type_name(b->cell[cell].type));
}

/* Where the value of an output goes; NULL: it is refused. */
static inline struct weir_cell *cell_of(struct host *h, struct weir_out *out,
                                        const char *call, uint32_t cell, uint32_t types)
{
    const struct binding *b = h->binding;
    const struct binding_cell *c = &b->cell[cell];
    if (__builtin_expect(h->failed || !out || !out->cell || cell >= b->n_cells ||
                             !(types & WEIR_TYPES(c->type)),
                         0)) {
        refuse_cell(h, out, call, cell);
        return NULL;
    }
    out->put = h->many;
    return c->output < 0 ? &out->unwanted : &out->cell[c->output];
}

static int host_put_int(struct weir_ctx *ctx, struct weir_out *out, uint32_t cell,
                        int64_t v)
{
    struct host *h = host_of(ctx);
    struct weir_cell *c =
        cell_of(h, out, "put_int", cell,
                WEIR_TYPES(WEIR_INT) | WEIR_TYPES(WEIR_BOOL) | WEIR_TYPES(WEIR_TIME));
    if (!c)
        return -1;
    c->type = h->binding->cell[cell].type;
    c->as.i = v;
    if (c->type == WEIR_BOOL && v != 0 && v != 1)
        return broken(h, "put_int: cell %u is a bool, 0 or 1, not %lld", cell,
                      (long long)v);
    return 0;
}

static int host_put_float(struct weir_ctx *ctx, struct weir_out *out, uint32_t cell,
                          double v)
{
    struct weir_cell *c =
        cell_of(host_of(ctx), out, "put_float", cell, WEIR_TYPES(WEIR_FLOAT));
    if (!c)
        return -1;
    c->type = v != v ? 0 : WEIR_FLOAT;
    c->as.f = v;
    return 0;
}

static size_t valid_utf8(const char *s, size_t size)
{
    size_t at = 0;
    for (size_t n; at < size && (n = utf8_length(s + at, size - at)); at += n)
        ;
    return at;
}

static int host_put_string(struct weir_ctx *ctx, struct weir_out *out, uint32_t cell,
                           const char *s, size_t size)
{
    struct host *h = host_of(ctx);
    struct weir_cell *c = cell_of(h, out, "put_string", cell, WEIR_TYPES(WEIR_STRING));
    if (!c)
        return -1;
    if (size > HOST_STRING_MAX)
        return broken(
            h, "put_string: the string for cell %u has %zu bytes, the limit is %zu",
            cell, size, HOST_STRING_MAX);
    if (!s && size)
        return broken(h, "put_string: the string for cell %u is NULL", cell);
    if (out->given + size > HOST_GIVEN_MAX)
        return broken(h, "put_string: more than %zu bytes in one call", HOST_GIVEN_MAX);
    size_t valid = valid_utf8(s, size);
    if (valid < size)
        return broken(h, "put_string: the string for cell %u is not UTF-8 at byte %zu",
                      cell, valid);
    c->as.s = size ? out->keep(out->ctx, s, size) : "";
    if (!c->as.s)
        return broken(h, "no memory for results");
    c->type = WEIR_STRING;
    c->size = (uint32_t)size;
    out->given += size;
    return 0;
}

static int host_row(struct weir_ctx *ctx, struct weir_out *out)
{
    struct host *h = host_of(ctx);
    if (h->failed)
        return -1;
    if (!h->many)
        return broken(h, "row: it declares one row a group (no WEIR_MANY_ROWS)");
    if (!out || !out->cell)
        return broken(h, "row: there is no group that it is of");
    out->given += h->binding->n_outputs * sizeof(*out->cell);
    if (++out->rows > HOST_ROWS_MAX)
        return broken(h, "row: a group has more than %u rows", HOST_ROWS_MAX);
    if (out->given > HOST_GIVEN_MAX)
        return broken(h, "row: more than %zu bytes in one call", HOST_GIVEN_MAX);
    out->put = false;
    return out->row(out->ctx, out->cell) ? broken(h, "no memory for results") : 0;
}

static int host_write(struct weir_ctx *ctx, struct weir_out *out, const void *bytes,
                      size_t size)
{
    struct host *h = host_of(ctx);
    if (!out || !out->bytes)
        return broken(h, "write: it was called outside of save");
    if (out->given + size > HOST_GIVEN_MAX || size > HOST_GIVEN_MAX)
        return broken(h, "write: a state has more than %zu bytes", HOST_GIVEN_MAX);
    out->given += size;
    buffer_put(out->bytes, bytes, size);
    return out->bytes->error ? broken(h, "no memory for a saved state") : 0;
}

/* ---- Other services --------------------------------------------------------------------------- */

#define REQUEST_URL_MAX    8192u
#define REQUEST_BODY_MAX   ((size_t)1 << 20)
#define REQUEST_HEADERS    32u /* at most, of 4096 bytes each */
#define REQUEST_SIZE_FIRST 40u /* of the struct in the first header that had it */
static_assert(sizeof(struct weir_request) >= REQUEST_SIZE_FIRST, "structs only grow");

static bool is_line(const char *text, size_t max)
{
    size_t n = strnlen(text, max + 1);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127)
            return false;
    return n && n <= max;
}

static bool is_http(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

static int take_headers(struct host *h, struct host_asked *to,
                        const char *const *headers)
{
    for (; headers && *headers; headers++) {
        if (to->n_headers == REQUEST_HEADERS || !is_line(*headers, 4096) ||
            !strchr(*headers, ':'))
            return broken(h,
                          "request: a header is not \"Name: value\" of up to 4096 "
                          "bytes, or there are more than %u",
                          REQUEST_HEADERS);
        buffer_put(&to->headers, *headers, strlen(*headers) + 1);
        to->n_headers++;
    }
    return 0;
}

static int host_request(struct weir_ctx *ctx, struct weir_asked *asked,
                        const struct weir_request *given)
{
    struct host *h = host_of(ctx);
    struct host_asked *to = (struct host_asked *)(void *)asked;
    struct weir_request q = {0};
    if (!to || to->given)
        return broken(h, "request: it is for ask, once a call");
    if (!given || given->size < REQUEST_SIZE_FIRST)
        return broken(h, "request: size is sizeof(struct weir_request)");
    for (size_t i = sizeof(q); i < given->size; i++)
        if (((const char *)given)[i])
            return broken(h, "request: it has members that this weir does not know");
    memcpy(&q, given, given->size < sizeof(q) ? given->size : sizeof(q));
    if (!q.url || !is_line(q.url, REQUEST_URL_MAX) || strchr(q.url, ' ') ||
        !is_http(q.url))
        return broken(h,
                      "request: the URL is not http or https, or has more than %u "
                      "bytes",
                      REQUEST_URL_MAX);
    if (q.body_size > REQUEST_BODY_MAX || (q.body_size && !q.body))
        return broken(h, "request: a body has up to %zu bytes", REQUEST_BODY_MAX);
    int r = take_headers(h, to, q.headers);
    buffer_puts(&to->url, q.url);
    if (q.body)
        buffer_put(&to->body, q.body, q.body_size);
    to->has_body = q.body != NULL;
    to->given = true;
    if (r == 0 && (to->url.error || to->body.error || to->headers.error))
        return broken(h, "no memory for a request");
    return r;
}

static const union {
    struct weir_host host;
    char room[PLUGIN_ROOM];
} table = {.host = {
               .size = sizeof(struct weir_host),
               .fail = host_fail,
               .log = host_log,
               .alloc = host_alloc,
               .free = host_free,
               .skip = host_skip,
               .outputs = host_outputs,
               .group = host_group,
               .put_int = host_put_int,
               .put_float = host_put_float,
               .put_string = host_put_string,
               .row = host_row,
               .write = host_write,
               .leave_out = host_leave_out,
               .form = host_form,
           }};

/* ---- Life ------------------------------------------------------------------------------------- */

void host_stand_in(struct host *h, struct binding *b, const char *pipeline,
                   _Atomic uint64_t *total, _Atomic uint64_t *skipped)
{
    memset(h, 0, sizeof(*h)); /* ctx has more than its members */
    h->binding = b;
    h->pipeline = pipeline;
    h->total = total;
    h->skipped = skipped;
    h->stands_in = true;
    h->many = b->plugin->analyzer.flags & WEIR_MANY_ROWS;
    h->ctx = (struct weir_ctx){.host = &table.host,
                               .config = b->config,
                               .types = b->types,
                               .n_inputs = b->n_inputs,
                               .size = sizeof(struct weir_ctx)};
}

int host_open(struct host *h, struct binding *b, const char *pipeline,
              _Atomic uint64_t *total, _Atomic uint64_t *skipped, struct error *error)
{
    const struct weir_analyzer *a = &b->plugin->analyzer;
    host_stand_in(h, b, pipeline, total, skipped);
    h->stands_in = false;
    h->opening = true;
    int r = 0;
    if (a->open) {
        host_lock(h);
        r = host_done(h, "open", a->open(&h->ctx));
        host_unlock(h);
    }
    if (r == 0 && !b->n_cells)
        r = broken(h, "open described no outputs, and it declares none");
    h->opening = false;
    h->own_memory = h->memory;
    if (r == 0)
        return 0;
    error_set(error, -EINVAL, "analyzer '%s': %s", a->name, h->error.text);
    host_close(h);
    return -EINVAL;
}

int host_open_for_answers(struct host *h, struct binding *b, struct binding *ret,
                          const char *pipeline, _Atomic uint64_t *total,
                          struct error *error)
{
    int r = host_open(h, b, pipeline, total, NULL, error);
    if (r < 0)
        return r;
    *ret = *b;
    ret->cell = b->answer;
    ret->n_cells = ret->n_outputs = b->n_answers;
    ret->output = NULL;
    h->binding = ret;
    h->many = false;
    return 0;
}

int host_ask(struct host *h, const struct weir_cell *value, struct host_asked *ret)
{
    if (h->failed)
        return -EINVAL;
    ret->asked =
        (struct weir_asked){.size = sizeof(ret->asked), .request = host_request};
    host_lock(h);
    int r =
        host_done(h, "ask", h->binding->plugin->async.ask(&h->ctx, value, &ret->asked));
    host_unlock(h);
    if (r == 0 && !ret->given) {
        broken(h, "ask has made no request");
        return -EINVAL;
    }
    return r;
}

int host_read(struct host *h, const struct weir_reply *reply, struct weir_out *out)
{
    union host_reply room;
    if (h->failed)
        return -EINVAL;
    memset(&room, 0, sizeof(room));
    room.reply = *reply;
    room.reply.size = sizeof(room.reply);
    h->error.text[0] = 0;
    host_lock(h);
    int r = h->binding->plugin->async.read(&h->ctx, &room.reply, out);
    host_unlock(h);
    return !h->failed && (r == WEIR_AGAIN || r == WEIR_NO_ANSWER)
               ? r
               : host_done(h, "read", r);
}

void host_leave(struct host *h)
{
    h->memory = 0;
    host_tell_memory(h);
    if (h->slabs)
        slabs_free(h->slabs);
    free(h->slabs);
    h->slabs = NULL;
    h->binding = NULL;
}

void host_close(struct host *h)
{
    if (!h->binding)
        return;
    const struct weir_analyzer *a = &h->binding->plugin->analyzer;
    if (a->close && !h->stands_in) {
        host_lock(h);
        a->close(&h->ctx);
        host_unlock(h);
    }
    if (h->memory && !h->failed)
        logger_warn("plugin",
                    "pipeline '%s', analyzer '%s': %zu bytes were not given back",
                    h->pipeline, a->name, h->memory);
    host_leave(h);
}

int host_done(struct host *h, const char *call, int r)
{
    if (r == 0 && !h->failed) {
        h->error.text[0] = 0;
        return 0;
    }
    if (r > 0)
        broken(h, "%s returned %d, and only 0 and what is negative has a meaning", call,
               r);
    else if (!h->error.text[0])
        broken(h, "%s failed and did not say why", call);
    h->failed = true;
    return -EINVAL;
}

int host_done_emit(struct host *h, struct weir_out *out, const char *call, int r)
{
    if (r == 0 && out->put)
        unfinished(h);
    return host_done(h, call, r);
}

int host_begin_group(struct host *h, struct weir_out *out, size_t i)
{
    return host_done(h, "group", host_group(&h->ctx, out, i));
}

int host_can_save(struct host *h)
{
    const struct weir_analyzer *a = &h->binding->plugin->analyzer;
    if (a->save || a->flags & WEIR_WHOLE || h->memory <= h->own_memory)
        return 0;
    broken(h,
           "its states hold %zu bytes from alloc, and it has no save and load: they "
           "cannot be stored",
           h->memory - h->own_memory);
    return -EINVAL;
}
