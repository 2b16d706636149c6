/* SPDX-License-Identifier: Apache-2.0
 *
 *      TZif    header, times of 4 bytes (version 1) | header, times of 8 bytes, "\n" rule "\n"
 *      rule    of all times behind the last one:  CET-1CEST,M3.5.0,M10.5.0/3
 */
#include "window/zone.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER       "/usr/share/zoneinfo"
#define HEADER_BYTES 44u
#define DAY_S        86400
#define NEVER        INT64_MAX

/* When in a year the clocks are changed. */
struct change {
    enum { CHANGE_MONTH, CHANGE_JULIAN, CHANGE_DAY } kind; /* Mm.w.d, Jn, n */
    int month, week, day;
    int64_t at_s; /* of the day, by the clocks before */
};

struct zone {
    size_t n;           /* changes in the file */
    int64_t *from_s;    /* of each, rising */
    int32_t *ahead_s;   /* from then on */
    int64_t before_s;   /* ahead, before the first */
    bool has_rule;      /* from the last one on: */
    int64_t standard_s; /* ahead */
    bool has_summer;
    int64_t summer_s;
    struct change begin, end; /* of summer time */
};

/* ---- The rule ------------------------------------------------------------------------------------- */

static int64_t day_of(const struct change *c, int64_t year)
{
    int64_t first = clock_days_from_civil(year, 1, 1);
    bool leap = clock_days_from_civil(year + 1, 1, 1) - first == 366;
    if (c->kind == CHANGE_DAY)
        return first + c->day;
    if (c->kind == CHANGE_JULIAN) /* 60 is the first of March in every year */
        return first + c->day - 1 + (leap && c->day >= 60);
    int64_t month = clock_days_from_civil(year, (unsigned)c->month, 1);
    int64_t next = c->month < 12
                       ? clock_days_from_civil(year, (unsigned)c->month + 1, 1)
                       : clock_days_from_civil(year + 1, 1, 1);
    int64_t weekday = ((month + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
    int64_t day = month + (c->day - weekday + 7) % 7 + 7 * (c->week - 1);
    return day < next ? day : day - 7;
}

static int64_t year_of(int64_t s)
{
    int64_t year;
    unsigned month, day;
    clock_civil_from_days((s - (s % DAY_S + DAY_S) % DAY_S) / DAY_S, &year, &month,
                          &day);
    return year;
}

/* What holds at s by the rule, and until when. */
static int64_t by_rule(const struct zone *z, int64_t s, int64_t *ret_until_s)
{
    *ret_until_s = NEVER;
    if (!z->has_summer)
        return z->standard_s;
    /* The last change at or before s, and the first behind it. A change may be a week outside its year, so
     * both of a year next to this one may be on the wrong side. */
    int64_t last_s = INT64_MIN, ahead_s = z->standard_s, year = year_of(s);
    for (int64_t y = year - 2; y <= year + 2; y++) {
        const struct {
            int64_t at_s, ahead_s;
        } change[] = {
            {day_of(&z->begin, y) * DAY_S + z->begin.at_s - z->standard_s, z->summer_s},
            {day_of(&z->end, y) * DAY_S + z->end.at_s - z->summer_s, z->standard_s}};
        for (int i = 0; i < 2; i++) {
            if (change[i].at_s > s)
                *ret_until_s =
                    change[i].at_s < *ret_until_s ? change[i].at_s : *ret_until_s;
            else if (change[i].at_s >= last_s) {
                last_s = change[i].at_s;
                ahead_s = change[i].ahead_s;
            }
        }
    }
    return ahead_s;
}

/* "CET", or "<+0330>". */
static bool take_name(const char **at)
{
    const char *s = *at;
    size_t n = 0;
    if (*s == '<') {
        while (s[1 + n] && s[1 + n] != '>')
            n++;
        if (n < 3 || s[1 + n] != '>')
            return false;
        *at = s + n + 2;
        return true;
    }
    while ((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= 'A' && s[n] <= 'Z'))
        n++;
    *at = s + n;
    return n >= 3;
}

static bool take_number(const char **at, int least, int most, int *ret)
{
    const char *s = *at;
    int n = 0;
    while (*s >= '0' && *s <= '9' && n <= most)
        n = 10 * n + (*s++ - '0');
    if (s == *at || n < least || n > most)
        return false;
    *at = s;
    *ret = n;
    return true;
}

/* "2", "-3:30": hours, minutes and seconds. */
static bool take_time(const char **at, int most_hours, int64_t *ret_s)
{
    bool minus = **at == '-';
    int part[3] = {0};
    *at += minus || **at == '+';
    if (!take_number(at, 0, most_hours, &part[0]))
        return false;
    for (int i = 1; i < 3 && **at == ':'; i++) {
        ++*at;
        if (!take_number(at, 0, 59, &part[i]))
            return false;
    }
    int64_t s = part[0] * 3600 + part[1] * 60 + part[2];
    *ret_s = minus ? -s : s;
    return true;
}

static bool take_char(const char **at, char c)
{
    bool is = **at == c;
    *at += is;
    return is;
}

/* ",M3.5.0/2" */
static bool take_change(const char **at, struct change *ret)
{
    *ret = (struct change){.kind = CHANGE_DAY, .at_s = 2 * 3600};
    if (!take_char(at, ','))
        return false;
    if (take_char(at, 'M')) {
        ret->kind = CHANGE_MONTH;
        if (!take_number(at, 1, 12, &ret->month) || !take_char(at, '.') ||
            !take_number(at, 1, 5, &ret->week) || !take_char(at, '.') ||
            !take_number(at, 0, 6, &ret->day))
            return false;
    } else {
        bool julian = take_char(at, 'J');
        ret->kind = julian ? CHANGE_JULIAN : CHANGE_DAY;
        if (!take_number(at, julian, 365, &ret->day))
            return false;
    }
    return !take_char(at, '/') || take_time(at, 167, &ret->at_s);
}

/* West of Greenwich is positive there. */
static bool parse_rule(const char *text, struct zone *z)
{
    if (!*text)
        return true;
    int64_t behind_s;
    if (!take_name(&text) || !take_time(&text, 24, &behind_s))
        return false;
    z->has_rule = true;
    z->standard_s = -behind_s;
    if (!*text)
        return true;
    if (!take_name(&text))
        return false;
    z->has_summer = true;
    z->summer_s = z->standard_s + 3600;
    if (*text != ',') {
        if (!take_time(&text, 24, &behind_s))
            return false;
        z->summer_s = -behind_s;
    }
    return take_change(&text, &z->begin) && take_change(&text, &z->end) && !*text;
}

/* ---- The file ------------------------------------------------------------------------------------- */

static uint64_t big_endian(const unsigned char *at, size_t size)
{
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++)
        v = v << 8 | at[i];
    return v;
}

struct block {
    size_t n, n_types, n_leaps, time_bytes, size; /* without its header */
    const unsigned char *times;
};

/* The block whose header is at `at`. */
static int read_header(const unsigned char *at, size_t size, size_t time_bytes,
                       struct block *ret)
{
    if (size < HEADER_BYTES || memcmp(at, "TZif", 4) != 0)
        return -EBADMSG;
    size_t count[6]; /* of ut and std flags, leap seconds, times, types, characters */
    for (size_t i = 0; i < 6; i++)
        if ((count[i] = big_endian(at + 20 + 4 * i, 4)) > ZONE_FILE_MAX)
            return -EBADMSG;
    *ret =
        (struct block){.n = count[3],
                       .n_types = count[4],
                       .n_leaps = count[2],
                       .time_bytes = time_bytes,
                       .size = count[3] * (time_bytes + 1) + count[4] * 6 + count[5] +
                               count[2] * (time_bytes + 4) + count[1] + count[0],
                       .times = at + HEADER_BYTES};
    return ret->size <= size - HEADER_BYTES ? 0 : -EBADMSG;
}

static int read_changes(const struct block *b, struct zone *z)
{
    const unsigned char *type_of = b->times + b->n * b->time_bytes,
                        *type = type_of + b->n;
    if (!b->n_types || b->n_leaps) /* leap seconds count in no time of weir's */
        return -EBADMSG;
    for (size_t i = 0; i < b->n_types; i++) {
        int32_t ahead_s = (int32_t)big_endian(type + 6 * i, 4);
        if (ahead_s < -ZONE_OFFSET_MAX || ahead_s > ZONE_OFFSET_MAX)
            return -EBADMSG;
    }
    z->n = b->n;
    z->before_s = (int32_t)big_endian(type, 4);
    z->from_s = malloc((b->n + 1) * sizeof(*z->from_s));
    z->ahead_s = malloc((b->n + 1) * sizeof(*z->ahead_s));
    if (!z->from_s || !z->ahead_s)
        return -ENOMEM;
    for (size_t i = 0; i < b->n; i++) {
        uint64_t at = big_endian(b->times + i * b->time_bytes, b->time_bytes);
        z->from_s[i] = b->time_bytes == 4 ? (int32_t)at : (int64_t)at;
        if (type_of[i] >= b->n_types || (i && z->from_s[i] <= z->from_s[i - 1]))
            return -EBADMSG;
        z->ahead_s[i] = (int32_t)big_endian(type + (size_t)6 * type_of[i], 4);
    }
    return 0;
}

static int read_rule(const unsigned char *at, size_t size, struct zone *z)
{
    char text[128];
    if (size < 2 || *at != '\n')
        return -EBADMSG;
    const unsigned char *end = memchr(at + 1, '\n', size - 1);
    size_t length = end ? (size_t)(end - at) - 1 : sizeof(text);
    if (length >= sizeof(text) || memchr(at + 1, 0, length))
        return -EBADMSG;
    memcpy(text, at + 1, length);
    text[length] = 0;
    return parse_rule(text, z) ? 0 : -EBADMSG;
}

int zone_parse(const unsigned char *bytes, size_t size, struct zone **ret)
{
    struct block b;
    struct zone *z = calloc(1, sizeof(*z));
    if (!z)
        return -ENOMEM;
    int r = read_header(bytes, size, 4, &b);
    if (r == 0 && bytes[4] >= '2') {
        bytes += HEADER_BYTES + b.size;
        size -= HEADER_BYTES + b.size;
        r = read_header(bytes, size, 8, &b);
    }
    if (r == 0)
        r = read_changes(&b, z);
    if (r == 0 && b.time_bytes == 8)
        r = read_rule(b.times + b.size, size - HEADER_BYTES - b.size, z);
    if (r < 0) {
        zone_free(z);
        return r;
    }
    *ret = z;
    return 0;
}

void zone_free(struct zone *z)
{
    if (!z)
        return;
    free(z->from_s);
    free(z->ahead_s);
    free(z);
}

static bool is_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_+-/";
    return *name && *name != '/' && strlen(name) <= 64 &&
           name[strspn(name, letters)] == 0;
}

static int read_file(const char *path, unsigned char *to, size_t *ret_size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t size = 0;
    ssize_t n;
    while ((n = read(fd, to + size, ZONE_FILE_MAX - size)) > 0)
        size += (size_t)n;
    int err = n < 0 ? -errno : size == ZONE_FILE_MAX ? -EBADMSG : 0;
    close(fd);
    *ret_size = size;
    return err;
}

int zone_load(const char *name, struct zone **ret, struct error *error)
{
    const char *folder = getenv("TZDIR");
    char path[4096];
    if (!strcmp(name, "UTC")) {
        *ret = calloc(1, sizeof(**ret));
        return *ret ? 0 : error_set(error, -ENOMEM, "no memory");
    }
    if (!is_name(name))
        return error_set(error, -EINVAL,
                         "'%s' is no name of a time zone, such as Europe/Berlin", name);
    snprintf(path, sizeof(path), "%s/%s", folder && *folder ? folder : FOLDER, name);
    unsigned char *bytes = malloc(ZONE_FILE_MAX);
    if (!bytes)
        return error_set(error, -ENOMEM, "no memory");
    size_t size = 0;
    int r = read_file(path, bytes, &size);
    if (r == 0)
        r = zone_parse(bytes, size, ret);
    free(bytes);
    if (r == -EBADMSG || r == -EISDIR)
        return error_set(error, r, "'%s' is no time zone's file (without leap seconds)",
                         path);
    if (r == -ENOENT || r == -ENOTDIR)
        return error_set(
            error, r,
            "there is no time zone '%s' in %s (package tzdata); its name is "
            "one such as Europe/Berlin",
            name, folder && *folder ? folder : FOLDER);
    return r < 0 ? error_set(error, r, "'%s': %s", path, strerror(-r)) : 0;
}

/* ---- Asking --------------------------------------------------------------------------------------- */

/* What holds at s, and until when. */
static int64_t ahead_until(const struct zone *z, int64_t s, int64_t *ret_until_s)
{
    size_t low = 0, high = z->n; /* changes at or before s */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (z->from_s[middle] <= s)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == z->n && z->has_rule)
        return by_rule(z, s, ret_until_s);
    *ret_until_s = low < z->n ? z->from_s[low] : NEVER;
    return low ? z->ahead_s[low - 1] : z->before_s;
}

int64_t zone_ahead_s(const struct zone *z, int64_t s)
{
    int64_t until_s;
    return ahead_until(z, s, &until_s);
}

int64_t zone_when_s(const struct zone *z, int64_t local_s)
{
    /* No clock shows it before; from there on one span after the other. */
    int64_t s = local_s - ZONE_OFFSET_MAX, until_s;
    for (;; s = until_s) {
        int64_t shown_s = local_s - ahead_until(z, s, &until_s);
        s = shown_s > s ? shown_s : s;
        if (s < until_s)
            return s;
    }
}

#define YEAR_2100_S INT64_C(4102444800)

/* FNV-1a, 64 bits: G. Fowler, L. C. Noll, K.-P. Vo; over each time at which the clocks are changed, and to what. */
uint64_t zone_sum(const struct zone *z)
{
    uint64_t sum = UINT64_C(14695981039346656037);
    int64_t was_s = INT64_MIN;
    for (int64_t s = 0, until_s; s < YEAR_2100_S; s = until_s) {
        int64_t ahead_s = ahead_until(z, s, &until_s);
        uint64_t change = (uint64_t)s << 18 ^ (uint64_t)(ahead_s + ZONE_OFFSET_MAX);
        for (int i = 0; ahead_s != was_s && i < 64; i += 8)
            sum = (sum ^ (change >> i & 255)) * UINT64_C(1099511628211);
        was_s = ahead_s;
    }
    return sum;
}
