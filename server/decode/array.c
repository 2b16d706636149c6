/* SPDX-License-Identifier: Apache-2.0
 *
 * The state machine of array.h. Strings are passed sixteen bytes at a time.
 */
#include "decode/array.h"

#include "decode/text.h"

static const char bom[] = "\xef\xbb\xbf";

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void begin_element(struct array *a, char c)
{
    a->state = ARRAY_IN;
    a->depth = 0;
    a->in_string = a->escaped = false;
    a->scalar = c != '{' && c != '[';
}

/* One byte between elements: what is wrong with it, or NULL. */
static const char *step(struct array *a, char c)
{
    switch (a->state) {
    case ARRAY_START:
        a->single = c == '{';
        if (a->single)
            begin_element(a, c);
        else if (c == '[')
            a->state = ARRAY_FIRST;
        else
            return "expected an array of objects, or objects";
        return NULL;
    case ARRAY_FIRST:
    case ARRAY_NEXT:
        if (c == ']' && a->state == ARRAY_FIRST)
            a->state = ARRAY_END;
        else if (c == ']' || c == '}' || c == ',' || c == ':')
            return "expected an element of the array";
        else
            begin_element(a, c);
        return NULL;
    case ARRAY_AFTER:
        if (c != ',' && c != ']')
            return "expected ',' or ']' after an element";
        a->state = c == ',' ? ARRAY_NEXT : ARRAY_END;
        return NULL;
    default:
        if (!a->single || c != '{')
            return "unexpected text after the end";
        begin_element(a, c); /* objects one after the other */
        return NULL;
    }
}

const char *array_between(struct array *a, const char *p, const char *end,
                          const char **ret_problem, const char **ret_at)
{
    for (; p < end; p++) {
        bool start = a->state == ARRAY_START;
        if (start && a->bom < 3 && *p == bom[a->bom]) {
            a->bom++;
            continue;
        }
        *ret_problem = NULL;
        if (start && (a->bom == 1 || a->bom == 2))
            *ret_problem = "half a byte order mark";
        else if (!is_space(*p))
            *ret_problem = step(a, *p);
        else if (start)
            a->bom = 3; /* none can follow */
        if (*ret_problem) {
            *ret_at = p;
            return NULL;
        }
        if (a->state == ARRAY_IN)
            return p;
    }
    return p;
}

/* Passes bytes that a string is full of. */
static const char *skip_plain(const char *p, const char *end)
{
    while (end - p >= 16) {
        unsigned stops = text_stops(p);
        if (stops)
            return p + __builtin_ctz(stops);
        p += 16;
    }
    return p;
}

static void scan_in_string(struct array *a, char c)
{
    if (a->escaped)
        a->escaped = false;
    else if (c == '\\')
        a->escaped = true;
    else if (c == '"')
        a->in_string = false;
}

static const char *ended(struct array *a, const char *p)
{
    a->state = a->single ? ARRAY_END : ARRAY_AFTER;
    return p;
}

const char *array_scan(struct array *a, const char *p, const char *end)
{
    for (; p < end; p++) {
        if (a->in_string) {
            if (!a->escaped)
                p = skip_plain(p, end);
            if (p == end)
                return NULL;
            scan_in_string(a, *p);
        } else if (*p == '"') {
            a->in_string = true;
        } else if (a->scalar) {
            if (*p == ',' || *p == ']' || *p == '}' || is_space(*p))
                return ended(a, p);
        } else if (*p == '{' || *p == '[') {
            a->depth++;
        } else if ((*p == '}' || *p == ']') && --a->depth == 0) {
            return ended(a, p + 1);
        }
    }
    return NULL;
}
