/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing with linear probing.
 */
#include "decode/names.h"

#include "base/hash.h"

#include <string.h>

void names_add(struct names *t, const char *text, size_t size, int value)
{
    size_t i = hash_bytes(text, size) % NAMES_SLOTS;
    while (t->slot[i])
        i = (i + 1) % NAMES_SLOTS;
    t->name[t->n].text = text;
    t->name[t->n].size = size;
    t->name[t->n].value = value;
    t->slot[i] = (uint16_t)++t->n;
    t->longest = size > t->longest ? size : t->longest;
}

int names_find(const struct names *t, const char *name, size_t size)
{
    if (size > t->longest)
        return -1;
    size_t i = hash_bytes(name, size) % NAMES_SLOTS;
    for (; t->slot[i]; i = (i + 1) % NAMES_SLOTS) {
        size_t k = t->slot[i] - 1u;
        if (t->name[k].size == size && memcmp(t->name[k].text, name, size) == 0)
            return t->name[k].value;
    }
    return -1;
}
