/* SPDX-License-Identifier: Apache-2.0
 *
 * How far sources were read that weir reads itself. A bookmark goes with the entry whose rows it is behind, through the
 * journal and on to the dispatcher, so that what the database is given is that of its position:
 *
 *      request -> entry -> [frame: bookmark entry ...] -> backlog -> handed on: `here` -> keep: the database
 *      at start: the database: `known` by name; the journal: `read`, by number -> log_bookmark
 */
#include "log/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct known_bookmark {
    struct known_bookmark *next;
    char *source, *bookmark;
};

struct bookmarks {
    char *read[LOG_SOURCES_MAX]; /* the gatherer's, fixed before `ready` */
    char *here[LOG_SOURCES_MAX]; /* behind what is handed on; the dispatcher's */
};

static struct bookmarks *of(const struct log *l)
{
    return atomic_load_explicit(&l->bookmarks.of, memory_order_acquire);
}

int bookmarks_room(struct log *l)
{
    if (of(l))
        return 0;
    struct bookmarks *mine = calloc(1, sizeof(*mine)), *none = NULL;
    if (!mine)
        return -ENOMEM;
    if (!atomic_compare_exchange_strong_explicit(
            &l->bookmarks.of, &none, mine, memory_order_acq_rel, memory_order_acquire))
        free(mine);
    return 0;
}

/* As the journal has it. NULL: it has none. */
static const char *bookmark_read(const struct log *l, uint32_t source)
{
    return of(l) ? of(l)->read[source] : NULL;
}

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
    if (!e->bookmark)
        return 0;
    char *copy = strdup(e->bookmark);
    if (!copy || bookmarks_room(l) < 0) {
        free(copy);
        return -ENOMEM;
    }
    free(of(l)->read[e->source]);
    of(l)->read[e->source] = copy;
    return 0;
}

/* What the journal says is the newer. Nothing of it changes once the log is ready. */
int log_bookmark(struct log *l, uint32_t source, char **ret)
{
    if (!log_is_ready(l))
        return -EAGAIN;
    const char *bookmark = bookmark_read(l, source), *name = log_source_name(l, source);
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
        if (bookmark_read(l, i) && !strcmp(log_source_name(l, i), source))
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
        if (bookmark_read(l, i))
            r = call(ctx, log_source_name(l, i), bookmark_read(l, i));
    for (const struct known_bookmark *k = l->bookmarks.known; r >= 0 && k; k = k->next)
        if (!is_read(l, k->source))
            r = call(ctx, k->source, k->bookmark);
    return r < 0 ? r : 0;
}

void bookmark_here(struct log *l, struct log_entry *e)
{
    if (!e->bookmark)
        return;
    struct bookmarks *b = of(l);
    assert(b); /* made before it was put */
    free(b->here[e->source]);
    b->here[e->source] = e->bookmark;
    e->bookmark = NULL;
}

int log_bookmarks(struct log *l,
                  int (*call)(void *ctx, const char *source, const char *bookmark),
                  void *ctx)
{
    const struct bookmarks *b = of(l);
    int r = 0;
    for (uint32_t i = 1; b && r >= 0 && i < LOG_SOURCES_MAX; i++)
        if (b->here[i])
            r = call(ctx, log_source_name(l, i), b->here[i]);
    return r < 0 ? r : 0;
}

void bookmarks_free(struct log *l)
{
    struct bookmarks *b = of(l);
    for (uint32_t i = 0; b && i < LOG_SOURCES_MAX; i++) {
        free(b->read[i]);
        free(b->here[i]);
    }
    free(b);
    for (struct known_bookmark *k = l->bookmarks.known, *next; k; k = next) {
        next = k->next;
        known_free(k);
    }
}
