/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON of a known form, read member by member where it lies: what of the body is wanted is little, and its members come
 * in any order. Internal to decode.
 *
 *      members_open(&m, '{');
 *      for (size_t n = 0; members_next(&m, n, '}'); n++)
 *          if (members_key(&m, &key)) ... members_text, members_number, members_skip, or members_open
 *      if (m.bad) ...
 *
 * Whatever is read from a body that is bad is not used. RECORD_PAD zeros stand behind it.
 */
#ifndef WEIR_DECODE_MEMBERS_H
#define WEIR_DECODE_MEMBERS_H

#include "decode/number.h"
#include "decode/text.h"
#include "decode/value.h"

struct members {
    struct record record; /* for its faults, its white space, its depth */
    const char *at;
    bool bad; /* what was read is no JSON, or not of the form */
};

static inline struct members members_of(const char *body)
{
    static const uint8_t space[256] = {[' '] = 1, ['\t'] = 1, ['\n'] = 1, ['\r'] = 1};
    return (struct members){.record = {.space = space, .depth_max = 64}, .at = body};
}

static inline bool members_fail(struct members *m)
{
    m->bad = true;
    return false;
}

static inline char members_peek(struct members *m)
{
    m->at = record_skip_space(&m->record, m->at);
    return *m->at;
}

static inline bool members_take(struct members *m, char c)
{
    bool taken = !m->bad && members_peek(m) == c;
    m->at += taken;
    return taken;
}

/* '{' or '['. */
static inline bool members_open(struct members *m, char bracket)
{
    return members_take(m, bracket) || members_fail(m);
}

/* There is a member behind the n before it; false: there is none, and the bracket is taken. */
static inline bool members_next(struct members *m, size_t n, char bracket)
{
    if (m->bad || members_take(m, bracket))
        return false;
    return n == 0 || members_take(m, ',') || members_fail(m);
}

/* Passes over a value. */
static inline bool members_skip(struct members *m)
{
    const char *end = m->bad ? NULL : value_skip(&m->record, m->at);
    m->at = end ? end : m->at;
    return end || members_fail(m);
}

/* A string as it lies there, between its quotes. */
struct members_text {
    const char *bytes;
    size_t size;
    bool escapes; /* text_unescape makes it what it is */
};

static inline bool members_text(struct members *m, struct members_text *ret)
{
    if (m->bad || members_peek(m) != '"')
        return members_fail(m);
    const char *begin = m->at + 1, *end = text_check(&m->record, begin, &ret->escapes);
    if (!end)
        return members_fail(m);
    ret->bytes = begin;
    ret->size = (size_t)(end - begin);
    m->at = end + 1;
    return true;
}

/* A key and its colon. */
static inline bool members_key(struct members *m, struct members_text *ret)
{
    return members_text(m, ret) && (members_take(m, ':') || members_fail(m));
}

static inline bool members_is(const struct members_text *key, const char *name)
{
    return key->size == strlen(name) && memcmp(key->bytes, name, key->size) == 0;
}

static inline bool members_word(struct members *m, const char *word)
{
    size_t size = strlen(word);
    members_peek(m);
    bool is = !m->bad && strncmp(m->at, word, size) == 0;
    m->at += is ? size : 0;
    return is;
}

/* A number. */
static inline bool members_number(struct members *m, struct number *ret)
{
    const char *problem, *end;
    members_peek(m);
    if (m->bad || (*m->at != '-' && !(*m->at >= '0' && *m->at <= '9')) ||
        !(end = number_scan(m->at, ret, &problem)))
        return members_fail(m);
    m->at = end;
    return true;
}

#endif
