/* SPDX-License-Identifier: Apache-2.0
 *
 * Small JSON answers, written front to back into a buffer; commas come by themselves. Errors are the
 * buffer's, sticky. `name` is the member's, or NULL within a list.
 */
#ifndef WEIR_API_JSONOUT_H
#define WEIR_API_JSONOUT_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

void jsonout_open(struct buffer *b, const char *name, char bracket); /* '{' or '[' */
void jsonout_close(struct buffer *b, char bracket);                  /* '}' or ']' */
void jsonout_string(struct buffer *b, const char *name,
                    const char *value); /* NULL: null */
void jsonout_count(struct buffer *b, const char *name, uint64_t value);
void jsonout_bool(struct buffer *b, const char *name, bool value);
void jsonout_time(struct buffer *b, const char *name,
                  int64_t us); /* INT64_MIN, _MAX: null */
void jsonout_duration(struct buffer *b, const char *name,
                      int64_t us); /* INT64_MAX: null */

#endif
