/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the elements of a JSON array, or objects one after the other, in a body that comes in pieces.
 *
 *        '['            element        its last byte        ','
 *   START ---> FIRST ------------> IN ---------------> AFTER ---> NEXT
 *     |          |                  ^                   |           |
 *     |'{'       |']'               +-------------------|-----------+ element
 *     +--> IN    +------------> END <-------------------+ ']'; behind an object without an array:
 *           ^                    |                          at once
 *           +--------------------+ '{', then
 *
 * An element ends where its brackets and quotes are balanced; whether it is valid is for others.
 */
#ifndef WEIR_DECODE_ARRAY_H
#define WEIR_DECODE_ARRAY_H

#include <stdbool.h>

enum array_state {
    ARRAY_START,
    ARRAY_FIRST, /* behind '[' */
    ARRAY_NEXT,  /* behind ',' */
    ARRAY_IN,
    ARRAY_AFTER,
    ARRAY_END,
};

struct array {
    enum array_state state;
    bool single;         /* objects without an array around them */
    unsigned bom;        /* bytes of a byte order mark seen */
    unsigned long depth; /* open brackets of the element */
    bool scalar;         /* the element has none */
    bool in_string, escaped;
};

/* From between elements to the first byte of the next (state IN), or to `end`. NULL: the body is no
 * array of this kind: *ret_problem says why, at *ret_at. */
const char *array_between(struct array *a, const char *p, const char *end,
                          const char **ret_problem, const char **ret_at);

/* In an element: behind its end (state AFTER or END), or NULL if that is not before `end`. */
const char *array_scan(struct array *a, const char *p, const char *end);

#endif
