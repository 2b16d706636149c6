/* SPDX-License-Identifier: Apache-2.0
 *
 * Columns in objects and lists within a record (decode/paths.h), where no layout leads to them.
 */
#ifndef WEIR_DECODE_NESTED_H
#define WEIR_DECODE_NESTED_H

#include "decode/record.h"

/* Any value at p, which the columns below `node` are in: those that are not there are null. Returns what follows it, or
 * NULL: r->status. */
const char *nested_read(struct record *r, const char *p, uint16_t node);

/* The object or list `node` begins: columns below it are null until they are found, also those that were found in
 * another one of the same key. */
void nested_begin(struct record *r, uint16_t node);

/* Instead of record_commit where each element of a list becomes a row: makes those rows, all of them, or none. An enum
 * record_status or -ENOMEM. */
int nested_commit(struct record *r);

#endif
