/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of one failure, carried upwards to the layer that gives up and logs it. Functions return
 * 0 or a negative errno; the text travels beside it, once.
 */
#ifndef WEIR_BASE_ERROR_H
#define WEIR_BASE_ERROR_H

struct error {
    char text[512]; /* one line, no full stop, "" when nothing failed */
};

/* Formats the text (cut at the buffer's end) and returns `err`, a negative errno. `error` may be NULL. */
int error_set(struct error *error, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " in front of the text. */
void error_prefix(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
