/* SPDX-License-Identifier: Apache-2.0 */
#include "journal/walk.h"

#include "journal/scan.h"

#include <string.h>
#include <unistd.h>

int walk_begin(struct walk *w, const char *path, struct error *error)
{
    *w = (struct walk){.folder = -1, .hold = -1};
    int err = folder_open(path, &w->folder, error);
    if (err)
        return err;
    err = folder_hold_shared(w->folder, false, &w->hold);
    if (!err)
        err = folder_read(w->folder, &w->list);
    return err ? error_set(error, err, "%s", strerror(-err))
               : scan_salt(w->folder, &w->list, &w->salt, error);
}

void walk_finish(struct walk *w)
{
    folder_list_free(&w->list);
    if (w->hold >= 0)
        close(w->hold);
    if (w->folder >= 0)
        close(w->folder);
    w->hold = w->folder = -1;
}

static bool find_behind(const struct walk *w, uint64_t *ret)
{
    for (size_t i = 0; i < w->list.n_segments; i++)
        if (w->list.segment[i].number > w->number) {
            *ret = w->list.segment[i].number;
            return true;
        }
    return false;
}

/* A list that is read while a file is renamed may lack it, and yet have the one that came after it. The next
 * list has both: what two of them lack is not there. */
int walk_look(struct walk *w, uint64_t *ret)
{
    bool found = find_behind(w, ret);
    for (int lists = 0; lists < 2 && !(found && *ret == w->number + 1); lists++) {
        folder_list_free(&w->list);
        int err = folder_read(w->folder, &w->list);
        if (err)
            return err;
        found = find_behind(w, ret);
    }
    return found;
}

int walk_end(const struct walk *w, uint64_t next, uint64_t *ret)
{
    struct frame_head head;
    int r = scan_first(w->folder, next, w->salt, &head);
    if (r <= 0)
        return r;
    if (!(head.flags & FRAME_BEGINS) || next != w->number + 1)
        return 0;
    *ret = head.before;
    return 1;
}
