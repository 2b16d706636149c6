/* SPDX-License-Identifier: Apache-2.0
 *
 * A text with {column} in it, as a body of JSON: values stand as they do in JSON, texts and times without their quotes, which the
 * template has around them. Any other brace is itself.
 *
 *      {"text": "{symbol} is at {price_mean}, {kind}"}
 */
#ifndef WEIR_HOOK_TEMPLATE_H
#define WEIR_HOOK_TEMPLATE_H

#include "base/buffer.h"
#include "base/error.h"
#include "batch/schema.h"

#include <sqlite3.h>

struct template;

/* What is no column: {id}, {kind}, ... */
enum template_word {
    TEMPLATE_ID,
    TEMPLATE_KIND,
    TEMPLATE_SINCE,
    TEMPLATE_PIPELINE,
    TEMPLATE_TABLE,
    TEMPLATE_HOOK,
};
#define TEMPLATE_WORDS 6

/* The schema is to stay. -EINVAL: there is no such column, and *ret_unknown is its name; -ENOMEM. */
int template_new(const char *text, const struct schema *schema, struct template **ret,
                 char ret_unknown[64]);
void template_free(struct template *t); /* takes NULL */
extern const char *const template_word_name[TEMPLATE_WORDS];

/* `value` of each word; the row's first columns are those of the schema. */
void template_put(const struct template *t, const char *const value[TEMPLATE_WORDS],
                  sqlite3_stmt *row, struct buffer *to);

#endif
