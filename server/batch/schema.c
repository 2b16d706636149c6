/* SPDX-License-Identifier: Apache-2.0 */
#include "batch/schema.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int schema_new(size_t n, const char *time_name, struct schema **ret)
{
    if (n < 1 || n > SCHEMA_COLUMNS_MAX)
        return -E2BIG;
    struct schema *s = calloc(1, sizeof(*s) + n * sizeof(s->column[0]));
    if (!s)
        return -ENOMEM;
    s->n = n;
    int r = schema_set(s, 0, time_name, WEIR_TIME);
    if (r < 0) {
        schema_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

int schema_set(struct schema *s, size_t i, const char *name, enum weir_type type)
{
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    free(s->column[i].name);
    s->column[i].name = copy;
    s->column[i].type = type;
    return 0;
}

void schema_free(struct schema *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        free(s->column[i].name);
    free(s);
}

int schema_copy(const struct schema *s, size_t n, size_t more, struct schema **ret)
{
    struct schema *copy;
    int r = schema_new(n + more, s->column[0].name, &copy);
    if (r < 0)
        return r;
    for (size_t i = 1; r == 0 && i < n; i++)
        r = schema_set(copy, i, s->column[i].name, s->column[i].type);
    if (r < 0) {
        schema_free(copy);
        return r;
    }
    *ret = copy;
    return 0;
}

int schema_find(const struct schema *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->column[i].name && !strcmp(s->column[i].name, name))
            return (int)i;
    return -1;
}

const char *schema_type_name(enum weir_type type)
{
    switch (type) {
    case WEIR_INT:
        return "int";
    case WEIR_FLOAT:
        return "float";
    case WEIR_BOOL:
        return "bool";
    case WEIR_STRING:
        return "string";
    case WEIR_TIME:
        return "time";
    }
    return "unknown";
}
