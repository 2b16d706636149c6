/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder, twice: a body whole and in pieces gives the same rows, verdicts and messages.
 */
#ifndef WEIR_TESTS_FUZZ_PIECES_H
#define WEIR_TESTS_FUZZ_PIECES_H

#include "../unit/decode/dump.h"

/* Small limits, so that small inputs reach them. The schema is the same in all calls. */
/* Another stream: fields in objects and lists, a row of each element, defaults, lenient. */
struct decode_options pieces_options_paths(void);

struct decode_options pieces_options(enum decode_unit unit);

/* Decodes `body` whole into *ret_whole (to be freed by the caller) and again, cut at places that `seed`
 * chooses; aborts if the two differ. */
void pieces_compare(const struct decode_options *o, enum decode_format format,
                    const char *body, size_t size, unsigned seed,
                    struct buffer *ret_whole);

/* Aborts with both texts. */
_Noreturn void pieces_differ(const char *what, const char *a, const char *b);

#endif
