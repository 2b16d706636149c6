/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes: patterns cut into segments once, then compared segment by segment.
 */
#include "http/internal.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The next segment of a path, without its slash. False at the end. */
static bool route_segment(const char **path, const char **ret, size_t *ret_size)
{
    if (**path != '/')
        return false;
    const char *from = *path + 1;
    size_t size = strcspn(from, "/");
    *ret = from;
    *ret_size = size;
    *path = from + size;
    return true;
}

int route_compile(const struct http_route *route, struct http_route_entry *ret)
{
    struct http_route_entry e = {.route = *route, .text = strdup(route->pattern)};
    if (!e.text)
        return -ENOMEM;
    const char *path = e.text, *at;
    size_t size, params = 0;
    while (route_segment(&path, &at, &size)) {
        bool param = size > 2 && at[0] == '{' && at[size - 1] == '}';
        if (e.n_segments == HTTP_SEGMENTS_MAX ||
            (param && ++params > HTTP_PARAMS_MAX)) {
            free(e.text);
            return -E2BIG;
        }
        struct http_segment *s = &e.segment[e.n_segments++];
        s->text = param ? NULL : at;
        s->name = param ? at + 1 : NULL;
        s->size = param ? size - 2 : size;
    }
    e.route.pattern = e.text;
    *ret = e;
    return 0;
}

void route_free(struct http_route_entry *e)
{
    free(e->text);
}

static bool route_match(const struct http_route_entry *e, const char *path,
                        struct http_request *r)
{
    const char *at;
    size_t size, param = 0;
    for (size_t i = 0; i < e->n_segments; i++) {
        const struct http_segment *s = &e->segment[i];
        if (!route_segment(&path, &at, &size))
            return false;
        if (s->text) {
            if (size != s->size || memcmp(at, s->text, size) != 0)
                return false;
            continue;
        }
        if (size == 0 || size >= HTTP_PARAM_ROOM)
            return false;
        memcpy(r->param[param], at, size);
        r->param[param++][size] = 0;
    }
    return *path == 0;
}

static bool route_allows(const struct http_route_entry *e, const char *method)
{
    if (strcmp(e->route.method, method) == 0)
        return true;
    return strcmp(method, "HEAD") == 0 && strcmp(e->route.method, "GET") == 0;
}

const char *http_param(const struct http_request *r, const char *name)
{
    if (!r->entry)
        return NULL;
    size_t size = strlen(name), param = 0;
    for (size_t i = 0; i < r->entry->n_segments; i++) {
        const struct http_segment *s = &r->entry->segment[i];
        if (s->text)
            continue;
        if (s->size == size && memcmp(s->name, name, size) == 0)
            return r->param[param];
        param++;
    }
    return NULL;
}

static void route_refuse_method(struct http_request *r, const char *path,
                                const char *method)
{
    const struct http_server *s = r->server;
    struct buffer allow = {.limit = 256};
    for (size_t i = 0; i < s->n_routes; i++) {
        const struct http_route_entry *e = &s->route[i];
        if (!route_match(e, path, r) || strstr(buffer_text(&allow), e->route.method))
            continue;
        if (allow.size)
            buffer_puts(&allow, ", ");
        buffer_puts(&allow, e->route.method);
        if (strcmp(e->route.method, "GET") == 0)
            buffer_puts(&allow, ", HEAD");
    }
    http_set_header(r, "Allow", buffer_text(&allow));
    http_problem(r, 405, "method_not_allowed",
                 "%.40s is not possible here; allowed: %s", method,
                 buffer_text(&allow));
    buffer_free(&allow);
}

/* Edits between two texts, cut to 127 bytes each: insert, remove, replace count 1. */
static size_t route_distance(const char *a, const char *b)
{
    uint8_t row[128];
    size_t na = strnlen(a, sizeof(row) - 1), nb = strnlen(b, sizeof(row) - 1);
    for (size_t j = 0; j <= nb; j++)
        row[j] = (uint8_t)j;
    for (size_t i = 1; i <= na; i++) {
        uint8_t diagonal = row[0];
        row[0] = (uint8_t)i;
        for (size_t j = 1; j <= nb; j++) {
            uint8_t least = (uint8_t)(diagonal + (a[i - 1] != b[j - 1]));
            diagonal = row[j];
            if (row[j] + 1 < least)
                least = (uint8_t)(row[j] + 1);
            if (row[j - 1] + 1 < least)
                least = (uint8_t)(row[j - 1] + 1);
            row[j] = least;
        }
    }
    return row[nb];
}

static void route_refuse_path(struct http_request *r, const char *path)
{
    const struct http_server *s = r->server;
    const char *near = NULL;
    size_t least = strlen(path) / 3 + 1;
    for (size_t i = 0; i < s->n_routes; i++) {
        size_t distance = route_distance(path, s->route[i].route.pattern);
        if (distance < least) {
            least = distance;
            near = s->route[i].route.pattern;
        }
    }
    if (near)
        http_problem(r, 404, "not_found",
                     "there is nothing at %.200s; did you mean %s?", path, near);
    else
        http_problem(r, 404, "not_found", "there is nothing at %.200s", path);
}

bool route_find(struct http_request *r)
{
    const char *path = r->path, *method = r->method;
    const struct http_server *s = r->server;
    bool found = false;
    if (strlen(path) < r->head.path_size) {
        http_problem(r, 404, "not_found",
                     "there is nothing at a path with a zero character");
        return false;
    }
    for (size_t i = 0; i < s->n_routes; i++) {
        const struct http_route_entry *e = &s->route[i];
        if (!route_match(e, path, r))
            continue;
        found = true;
        if (!route_allows(e, method))
            continue;
        r->entry = e;
        return true;
    }
    if (found)
        route_refuse_method(r, path, method);
    else
        route_refuse_path(r, path);
    return false;
}
