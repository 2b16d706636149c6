/* SPDX-License-Identifier: Apache-2.0 */
#include "carry/hosts.h"
#include "base/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static size_t count(const char *list)
{
    size_t n = list && *list;
    for (; n && *list; list++)
        n += *list == ',';
    return n;
}

/* "a,,b": the one between them is a default of libpq's. */
static bool has_gap(const char *list)
{
    return list && *list &&
           (*list == ',' || strstr(list, ",,") || list[strlen(list) - 1] == ',');
}

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

static int copy(char **to, const char *text)
{
    if (!text || !*text)
        return 0;
    *to = strdup(text);
    return *to ? 0 : -ENOMEM;
}

int hosts_of(PGconn *c, int64_t timeout_us, struct hosts *ret)
{
    PQconninfoOption *all = PQconninfo(c);
    if (!all)
        return -ENOMEM;
    int err = 0;
    long each_s = 0;
    *ret =
        (struct hosts){.list = {{.key = "host"}, {.key = "hostaddr"}, {.key = "port"}}};
    for (const PQconninfoOption *o = all; !err && o->keyword; o++) {
        for (size_t i = 0; !err && i < 3; i++)
            if (strcmp(o->keyword, ret->list[i].key) == 0)
                err = copy(&ret->list[i].text, o->val);
        if (strcmp(o->keyword, "connect_timeout") == 0 && o->val)
            each_s = strtol(o->val, NULL, 10);
    }
    PQconninfoFree(all);
    ret->n = most(1, most(count(ret->list[0].text), count(ret->list[1].text)));
    for (size_t i = 0; i < 3; i++)
        if (has_gap(ret->list[i].text))
            ret->n = 1;
    ret->each_us = timeout_us / (int64_t)ret->n;
    if (each_s > 0 && each_s < timeout_us / SECOND_US)
        ret->each_us = each_s * SECOND_US;
    if (err)
        hosts_free(ret);
    return err;
}

void hosts_free(struct hosts *h)
{
    for (size_t i = 0; i < 3; i++)
        free(h->list[i].text);
}

void hosts_free_one(char *value[3])
{
    for (size_t i = 0; i < 3; i++)
        free(value[i]);
}

int hosts_one(const struct hosts *h, size_t i, const char *key[3], char *value[3])
{
    int n = 0;
    for (size_t l = 0; l < 3; l++) {
        const char *at = h->list[l].text;
        if (!at)
            continue;
        const bool each = count(at) > 1; /* otherwise it holds for all */
        for (size_t skip = each ? i : 0; at && skip; skip--)
            at = (at = strchr(at, ',')) ? at + 1 : NULL;
        if (!at) /* libpq says that there are too few */
            at = h->list[l].text;
        else if (each && !(value[n] = strndup(at, strcspn(at, ","))))
            return -ENOMEM;
        if (!value[n] && !(value[n] = strdup(at)))
            return -ENOMEM;
        key[n++] = h->list[l].key;
    }
    return n;
}
