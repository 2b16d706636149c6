/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/outputs.h"
#include "plugin/params.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool all_zero(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            return false;
    return true;
}

int outputs_copy_table(const void *table, size_t row_size, size_t our_size, size_t max,
                       const char *what, void **ret, struct error *error)
{
    size_t n = 0, size = row_size < our_size ? row_size : our_size;
    const char *row = table;
    *ret = NULL;
    if (!table)
        return 0;
    for (; *(const char *const *)(const void *)(row + n * row_size); n++) {
        if (n == max)
            return error_set(error, -EINVAL, "more than %zu %s", max, what);
        if (!all_zero(row + n * row_size + size, row_size - size))
            return error_set(
                error, -EINVAL,
                "its %s have members that this weir does not know; it needs "
                "a newer one",
                what);
    }
    char *copy = calloc(n + 1, our_size);
    if (!copy)
        return error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        memcpy(copy + i * our_size, row + i * row_size, size);
    *ret = copy;
    return 0;
}

/* ---- Is what it declares sound? ---- */

static int check_braces(const struct weir_analyzer *a, const char *name,
                        struct error *error)
{
    const char *open = name;
    while ((open = strchr(open, '{'))) {
        size_t size = strcspn(open, "}");
        const struct weir_param *p = a->params;
        while (p && p->name &&
               (strlen(p->name) != size - 1 || strncmp(p->name, open + 1, size - 1)))
            p++;
        if (!open[size] || !p || !p->name ||
            (p->type != WEIR_PARAM_COLUMN && p->type != WEIR_PARAM_STRING &&
             p->type != WEIR_PARAM_CHOICE && p->type != WEIR_PARAM_INT))
            return error_set(
                error, -EINVAL,
                "output '%s': what stands in {} must be a parameter of type column, "
                "string, choice or int",
                name);
        open += size;
    }
    return 0;
}

/* Behind a list of columns the number of an input depends on the configuration. */
static int check_same_as(const struct weir_analyzer *a, const struct weir_output *o,
                         struct error *error)
{
    uint32_t k = o->type - WEIR_SAME_AS(0);
    const struct weir_param *p = a->params;
    for (; p && p->name && p->type != WEIR_PARAM_COLUMNS; p++)
        if (p->type == WEIR_PARAM_COLUMN && k-- == 0) {
            if (p->flags & WEIR_REQUIRED)
                return 0;
            return error_set(
                error, -EINVAL,
                "output '%s' takes its type from '%s', which need not be given",
                o->name, p->name);
        }
    return error_set(error, -EINVAL,
                     "output '%s' takes its type from an input that does not exist",
                     o->name);
}

static int check_type(const struct weir_analyzer *a, const struct weir_output *o,
                      bool bound, struct error *error)
{
    static const char *const reserved[] = {"decimal", "bytes", "list", "struct"};
    if (o->type >= WEIR_SAME_AS(0))
        return bound ? 0 : check_same_as(a, o, error);
    if (o->type >= WEIR_DECIMAL && o->type <= WEIR_STRUCT)
        return error_set(error, -EINVAL,
                         "output '%s' is of type %s, which this weir does not have yet",
                         o->name, reserved[o->type - WEIR_DECIMAL]);
    if (o->type < WEIR_INT || o->type > WEIR_TIME)
        return error_set(error, -EINVAL, "output '%s' has the unknown type %u", o->name,
                         o->type);
    return 0;
}

static int check_output(const struct weir_analyzer *a, const struct weir_output *o,
                        bool bound, struct error *error)
{
    /* A column's own name may have capitals. */
    const char *more = bound ? "ABCDEFGHIJKLMNOPQRSTUVWXYZ" : "";
    bool good = strlen(o->name) <= OUTPUTS_NAME_MAX;
    for (const char *at = o->name; good && *at; at++)
        good =
            strchr("abcdefghijklmnopqrstuvwxyz0123456789_{}", *at) || strchr(more, *at);
    if (!good)
        return error_set(error, -EINVAL,
                         "'%.63s' is not an output name ([a-z0-9_] and {parameter})",
                         o->name);
    if (!o->help)
        return error_set(error, -EINVAL, "output '%s' has no help line", o->name);
    const struct weir_param *set = a->params;
    while (set && set->name && set->type != WEIR_PARAM_SET)
        set++;
    if (o->set_word &&
        (!set || !set->name || params_word_find(set->choices, o->set_word) < 0))
        return error_set(error, -EINVAL,
                         "output '%s': no parameter of type set has the word '%s'",
                         o->name, o->set_word);
    int err = check_type(a, o, bound, error);
    return err ? err : check_braces(a, o->name, error);
}

int outputs_check(const struct weir_analyzer *a, const struct weir_output *outputs,
                  bool bound, struct error *error)
{
    if (!outputs || !outputs[0].name)
        return error_set(error, -EINVAL, "it declares no outputs");
    for (size_t i = 0; outputs[i].name; i++) {
        int err = check_output(a, &outputs[i], bound, error);
        if (err)
            return err;
        for (size_t k = 0; k < i; k++)
            if (strcmp(outputs[k].name, outputs[i].name) == 0)
                return error_set(error, -EINVAL,
                                 "output '%s' stands twice in its table",
                                 outputs[i].name);
    }
    return 0;
}
