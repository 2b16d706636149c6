/* SPDX-License-Identifier: Apache-2.0
 *
 * How far sources were read that weir reads itself. A bookmark goes with the entry whose rows it is behind, through the
 * journal and on to the dispatcher, so that what the database is given is that of its position:
 *
 *      request -> entry -> [frame: bookmark entry ...] -> backlog -> handed on: `here` -> keep: the database
 *      at start: the database: `known` by name; the journal: `read`, by number -> log_bookmark
 */
#include "log/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct known_bookmark {
    struct known_bookmark *next;
    char *source, *bookmark;
};

static void known_free(struct known_bookmark *k)
{
    if (!k)
        return;
    free(k->source);
    free(k->bookmark);
    free(k);
}

int log_know_bookmark(struct log *l, const char *source, const char *bookmark)
{
    struct known_bookmark *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    k->source = strdup(source);
    k->bookmark = strdup(bookmark);
    if (!k->source || !k->bookmark) {
        known_free(k);
        return -ENOMEM;
    }
    k->next = l->bookmarks.known;
    l->bookmarks.known = k;
    return 0;
}

int bookmark_replayed(struct log *l, const struct log_entry *e)
{
    char *copy = e->bookmark ? strdup(e->bookmark) : NULL;
    if (e->bookmark && !copy)
        return -ENOMEM;
    if (copy) {
        free(l->bookmarks.read[e->source]);
        l->bookmarks.read[e->source] = copy;
    }
    return 0;
}

/* What the journal says is the newer. Nothing of it changes once the log is ready. */
int log_bookmark(struct log *l, uint32_t source, char **ret)
{
    if (!log_is_ready(l))
        return -EAGAIN;
    const char *bookmark = l->bookmarks.read[source],
               *name = log_source_name(l, source);
    for (const struct known_bookmark *k = l->bookmarks.known; !bookmark && k;
         k = k->next)
        if (!strcmp(k->source, name))
            bookmark = k->bookmark;
    *ret = NULL;
    return bookmark && !(*ret = strdup(bookmark)) ? -ENOMEM : 0;
}

static bool is_read(struct log *l, const char *source)
{
    for (uint32_t i = 1; i < LOG_SOURCES_MAX; i++)
        if (l->bookmarks.read[i] && !strcmp(log_source_name(l, i), source))
            return true;
    return false;
}

int log_known_bookmarks(struct log *l,
                        int (*call)(void *ctx, const char *source,
                                    const char *bookmark),
                        void *ctx)
{
    int r = log_is_ready(l) ? 0 : -EAGAIN;
    for (uint32_t i = 1; r >= 0 && i < LOG_SOURCES_MAX; i++)
        if (l->bookmarks.read[i])
            r = call(ctx, log_source_name(l, i), l->bookmarks.read[i]);
    for (const struct known_bookmark *k = l->bookmarks.known; r >= 0 && k; k = k->next)
        if (!is_read(l, k->source))
            r = call(ctx, k->source, k->bookmark);
    return r < 0 ? r : 0;
}

void bookmark_here(struct log *l, struct log_entry *e)
{
    if (!e->bookmark)
        return;
    free(l->bookmarks.here[e->source]);
    l->bookmarks.here[e->source] = e->bookmark;
    e->bookmark = NULL;
}

int log_bookmarks(struct log *l,
                  int (*call)(void *ctx, const char *source, const char *bookmark),
                  void *ctx)
{
    int r = 0;
    for (uint32_t i = 1; r >= 0 && i < LOG_SOURCES_MAX; i++)
        if (l->bookmarks.here[i])
            r = call(ctx, log_source_name(l, i), l->bookmarks.here[i]);
    return r < 0 ? r : 0;
}

void bookmarks_free(struct log *l)
{
    for (uint32_t i = 0; i < LOG_SOURCES_MAX; i++) {
        free(l->bookmarks.read[i]);
        free(l->bookmarks.here[i]);
    }
    for (struct known_bookmark *k = l->bookmarks.known, *next; k; k = next) {
        next = k->next;
        known_free(k);
    }
}
