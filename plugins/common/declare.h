/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a plugin's table of parameters, each in a line; and durations such as "1m30s", which are parameters of
 * type string. `config` is the plugin's struct, `member` the parameter's name in it and in YAML.
 */
#ifndef WEIR_COMMON_DECLARE_H
#define WEIR_COMMON_DECLARE_H

#include "weir/plugin.h"

#include <string.h>

#define PARAM_COLUMN(config, member, flags_, types_, text)                             \
    {                                                                                  \
        .name = #member, .type = WEIR_PARAM_COLUMN, .flags = (flags_),                 \
        .offset = offsetof(config, member), .help = (text), .column_types = (types_)   \
    }
#define PARAM_INT(config, member, init_, least, most, text)                            \
    {                                                                                  \
        .name = #member, .type = WEIR_PARAM_INT, .offset = offsetof(config, member),   \
        .init = (init_), .help = (text), .min = (least), .max = (most)                 \
    }
#define PARAM_FLOAT(config, member, flags_, init_, least, most, text)                  \
    {                                                                                  \
        .name = #member, .type = WEIR_PARAM_FLOAT, .flags = (flags_),                  \
        .offset = offsetof(config, member), .init = (init_), .help = (text),           \
        .min = (least), .max = (most)                                                  \
    }
#define PARAM_STRING(config, member, flags_, init_, text)                              \
    {                                                                                  \
        .name = #member, .type = WEIR_PARAM_STRING, .flags = (flags_),                 \
        .offset = offsetof(config, member), .init = (init_), .help = (text)            \
    }
#define PARAM_CHOICE(config, member, init_, words, text)                               \
    {                                                                                  \
        .name = #member, .type = WEIR_PARAM_CHOICE,                                    \
        .offset = offsetof(config, member), .init = (init_), .help = (text),           \
        .choices = (words)                                                             \
    }
#define PARAM_SET(config, member, init_, words, text)                                  \
    {                                                                                  \
        .name = #member, .type = WEIR_PARAM_SET, .offset = offsetof(config, member),   \
        .init = (init_), .help = (text), .choices = (words)                            \
    }
#define PARAM_END                                                                      \
    {                                                                                  \
        .name = NULL                                                                   \
    }

#define ANY_TYPE                                                                       \
    (WEIR_NUMBERS | WEIR_TYPES(WEIR_BOOL) | WEIR_TYPES(WEIR_STRING) |                  \
     WEIR_TYPES(WEIR_TIME))

#define SECOND_US 1000000

/* One unit of a duration in microseconds; 0: there is no such unit. */
static inline int64_t duration_unit(const char *word, size_t size)
{
    static const struct {
        const char *word;
        int64_t us;
    } unit[] = {{"us", 1},
                {"ms", 1000},
                {"s", SECOND_US},
                {"m", 60 * (int64_t)SECOND_US},
                {"h", 3600 * (int64_t)SECOND_US},
                {"d", 86400 * (int64_t)SECOND_US},
                {"w", 7 * 86400 * (int64_t)SECOND_US}};
    for (size_t i = 0; i < sizeof(unit) / sizeof(*unit); i++)
        if (strlen(unit[i].word) == size && memcmp(unit[i].word, word, size) == 0)
            return unit[i].us;
    return 0;
}

/* "30s", "1h30m", "0s", as elsewhere in the configuration; up to 1000 weeks. Fails with the parameter's name. */
static inline int duration_parse(struct weir_ctx *ctx, const char *name,
                                 const char *text, int64_t *ret_us)
{
    const int64_t most = 7000 * (int64_t)86400 * SECOND_US;
    int64_t total = 0;
    const char *at = text;
    do {
        size_t digits = strspn(at, "0123456789"), word = 0;
        int64_t count = 0, unit;
        for (size_t i = 0; i < digits && count <= most; i++)
            count = 10 * count + (at[i] - '0');
        while (at[digits + word] >= 'a' && at[digits + word] <= 'z')
            word++;
        unit = duration_unit(at + digits, word);
        if (!digits || !unit || count > most / unit || total > most - count * unit)
            return weir_fail(ctx, "%s: '%s' is not a duration such as 30s or 1h30m",
                             name, text);
        total += count * unit;
        at += digits + word;
    } while (*at);
    *ret_us = total;
    return 0;
}

#endif
