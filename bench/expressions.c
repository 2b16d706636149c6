/* SPDX-License-Identifier: Apache-2.0
 *
 * What an expression costs a row: as a derived column, and as `where`, over full batches of three columns. The least of
 * several repetitions; lines such as "derive <tab> price * qty <tab> 1.6".
 */
#include "base/clock.h"
#include "base/error.h"
#include "expr/derive.h"
#include "expr/filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS        BATCH_ROWS_MAX
#define REPETITIONS 20

/* The first three are computed by vectors, the last by SQLite. */
static const char *const derived[] = {"price * qty", "price * qty + qty / 3.0 - 1",
                                      "CASE WHEN side = 'buy' THEN price ELSE 0 END",
                                      "abs(price) * qty"};
static const char *const where[] = {"qty > 5", "side = 'buy'",
                                    "side = 'buy' AND qty > 5", "side LIKE 'b%'"};

static void die(const char *what)
{
    fprintf(stderr, "expressions: %s\n", what);
    exit(1);
}

static struct schema *make_schema(void)
{
    struct schema *s;
    if (schema_new(4, "ts", &s) < 0 || schema_set(s, 1, "price", WEIR_FLOAT) < 0 ||
        schema_set(s, 2, "qty", WEIR_INT) < 0 ||
        schema_set(s, 3, "side", WEIR_STRING) < 0)
        die("no memory");
    return s;
}

static struct batch *make_batch(const struct schema *s)
{
    struct batch *b;
    uint32_t random = 1;
    if (batch_new(s, ROWS, &b) < 0)
        die("no memory");
    for (uint32_t i = 0; i < ROWS; i++, b->n_rows++) {
        random = random * 1664525 + 1013904223;
        const char *side = random >> 31 ? "buy" : "sell";
        struct column *text = &b->column[3];
        ((int64_t *)b->column[0].values)[i] = i;
        ((double *)b->column[1].values)[i] = (random >> 8) % 4000 / 4.0;
        ((int64_t *)b->column[2].values)[i] = (random >> 20) % 20;
        if (batch_bytes(b, 3, 4) < 0)
            die("no memory");
        memcpy(text->bytes + text->offsets[i], side, strlen(side));
        text->offsets[i + 1] = text->offsets[i] + (int32_t)strlen(side);
    }
    batch_seal(b);
    return b;
}

static double derive_ns(const struct schema *schema, struct batch *b, const char *text)
{
    const struct derive_column column = {.text = text, .type = WEIR_FLOAT};
    struct schema *s;
    struct derive *d;
    struct error error;
    int64_t least = INT64_MAX;
    if (schema_copy(schema, schema->n, 1, &s) < 0 ||
        schema_set(s, schema->n, "x", WEIR_FLOAT) < 0)
        die("no memory");
    if (derive_new(s, &column, 1, &d, &error) < 0)
        die(error.text);
    for (int i = 0; i < REPETITIONS; i++) {
        uint64_t errors;
        struct batch *with;
        int64_t begin = clock_monotonic_ns();
        if (derive_batch(d, b, &errors, &with) < 0)
            die("no memory");
        batch_unref(with);
        int64_t took = clock_monotonic_ns() - begin;
        least = took < least ? took : least;
    }
    derive_free(d);
    schema_free(s);
    return (double)least / ROWS;
}

static double where_ns(const struct schema *s, const struct batch *b, const char *text)
{
    struct filter *f;
    struct error error;
    int64_t least = INT64_MAX;
    if (filter_new(s, text, &f, &error) < 0)
        die(error.text);
    for (int i = 0; i < REPETITIONS; i++) {
        uint32_t row[BATCH_BLOCK], keep[BATCH_BLOCK];
        uint64_t errors = 0;
        int64_t begin = clock_monotonic_ns();
        for (uint32_t first = 0; first < ROWS; first += BATCH_BLOCK) {
            for (uint32_t k = 0; k < BATCH_BLOCK; k++)
                row[k] = first + k;
            if (filter_rows(f, b, row, BATCH_BLOCK, keep, &errors) < 0)
                die("SQLite failed");
        }
        int64_t took = clock_monotonic_ns() - begin;
        least = took < least ? took : least;
    }
    filter_free(f);
    return (double)least / ROWS;
}

int main(void)
{
    struct schema *s = make_schema();
    struct batch *b = make_batch(s);
    for (size_t i = 0; i < sizeof(derived) / sizeof(derived[0]); i++)
        printf("derive\t%s\t%.1f\n", derived[i], derive_ns(s, b, derived[i]));
    for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++)
        printf("where\t%s\t%.1f\n", where[i], where_ns(s, b, where[i]));
    batch_unref(b);
    schema_free(s);
    return 0;
}
