/* SPDX-License-Identifier: Apache-2.0
 *
 * What the headers of a POST of events say.
 */
#ifndef WEIR_SOURCE_TYPE_H
#define WEIR_SOURCE_TYPE_H

#include "decode/decode.h"

#define TYPE_SOURCE_NAME_MAX 63

/* The format for a Content-Type (NULL: none, NDJSON). curl --data-binary says application/x-www-form-urlencoded
 * unless told otherwise, fetch() of JavaScript text/plain for a string: NDJSON, too. -EINVAL: another type, or a
 * character set that is not part of UTF-8. */
int type_format(const char *type, enum decode_format *ret);

/* 1 to 63 of A-Z a-z 0-9 . _ : - */
bool type_is_source_name(const char *name, size_t size);

#endif
