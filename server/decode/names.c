/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing with linear probing; keys are compared in the schema itself.
 */
#include "decode/names.h"

#include "base/hash.h"

void names_init(struct names *t, const struct schema *schema, size_t first)
{
    *t = (struct names){.schema = schema};
    for (size_t c = first; c < schema->n; c++) {
        size_t size = strlen(schema->column[c].name);
        size_t i = hash_bytes(schema->column[c].name, size) % NAMES_SLOTS;
        while (t->slot[i])
            i = (i + 1) % NAMES_SLOTS;
        t->slot[i] = (uint16_t)(c + 1);
        t->size[c] = size;
        t->longest = size > t->longest ? size : t->longest;
    }
}

int names_find(const struct names *t, const char *name, size_t size)
{
    if (size > t->longest)
        return -1;
    size_t i = hash_bytes(name, size) % NAMES_SLOTS;
    for (; t->slot[i]; i = (i + 1) % NAMES_SLOTS) {
        size_t c = t->slot[i] - 1u;
        if (t->size[c] == size && memcmp(t->schema->column[c].name, name, size) == 0)
            return (int)c;
    }
    return -1;
}
