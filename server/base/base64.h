/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 (RFC 4648, section 4).
 */
#ifndef WEIR_BASE_BASE64_H
#define WEIR_BASE_BASE64_H

#include "base/buffer.h"

/* With padding. */
void base64_put(struct buffer *to, const void *bytes, size_t size);
/* Appends the bytes; padding may be missing. -EINVAL: it is none. */
int base64_take(const char *text, size_t size, struct buffer *ret);

#endif
