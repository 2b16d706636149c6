/* SPDX-License-Identifier: Apache-2.0
 *
 * How unusual a value is, given those before it: a number from 0 on, 1 is where it becomes an anomaly.
 *
 * Of each row six numbers are looked at: the value, its step from the one before, and of the last 12 values the mean,
 * the deviation, the least and the greatest. Of each of them the values seen so far are known, and what counts is the
 * distance to the nearest of those, as a part of their range:
 *
 *       known    ....  . ....... .          x   .       distance / range; a value beyond all of them counts alike
 *                |<----------- range ---------->|
 *
 * A small distance in all six is as telling as a large one in a single one, so that they are put together by the power
 * mean of exponent 1/2. A threshold for it needs no unit, no distribution, and no parameter of the series. Distance to
 * the nearest neighbour as a measure of novelty: F. Angiulli, C. Pizzuti, "Fast outlier detection in high dimensional
 * spaces", PKDD 2002; here in one dimension each, so that a row costs a binary search.
 *
 * Two more make an anomaly of what stays within known values:
 *      season   the distance of a value from the mean of its time of the day, if these means explain the series
 *      still    twice as many rows as ever before without a step that is larger than the mean one
 *
 * What was not seen for 3,000 rows is forgotten, so that the range, and what is unusual, follow the series.
 */
#ifndef WEIR_ANOMALY_DETECTOR_H
#define WEIR_ANOMALY_DETECTOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define MEMORY    3000u /* rows */
#define PARTS     256   /* of the range: values that are closer are one */
#define KNOWN_MAX 264u  /* PARTS + 1 of them are in the range, and some room */
#define LAST                                                                           \
    12u /* values that are looked at together; as many rows a verdict stands for */
#define LEARN  100u /* rows without a verdict, at the beginning */
#define PHASES 48u  /* of a season */
#define NEAR   16u  /* values in two or three lines of memory */

enum feature { VALUE, STEP, MEAN, SPREAD, LEAST, GREATEST, FEATURES };
#define SEASONAL FEATURES /* one more, which counts for itself */

/* Where unusual begins. */
#define BAR           0.011 /* of the range, if all features have the same distance */
#define SEASON_BAR    0.05  /* of the range of distances from the season's mean */
#define SEASON_GATE   0.7   /* the means leave so much of the mean distance, at most */
#define SEASON_CYCLES 5u    /* that a mean is of, about */
#define SEASON_LEARN  2u    /* cycles before a season counts */
#define STILL_TIMES   2
#define STILL_RUNS    5u /* before one is the longest */

/* Values in order, each with the row, modulo 2^32, in which it, or one that is closer than a part, was seen last. */
struct known {
    uint32_t n;
    uint32_t seen[KNOWN_MAX];
    double value[KNOWN_MAX];
};

struct phase {
    double mean;   /* of the cycles before */
    double sum;    /* of the rows of the newest one */
    int64_t cycle; /* which that is */
    uint32_t rows, cycles;
};

/* Zero bytes are one that has seen nothing. */
struct detector {
    uint64_t rows;
    int64_t time_us;             /* of the row before */
    uint32_t silent;             /* so many rows more the last verdict stands for */
    uint32_t run, longest, runs; /* rows without a step; at most; how many there were */
    uint32_t told, unused;       /* whether the run at hand was told */
    double last[LAST];           /* row r at r modulo LAST */
    double mean, step;           /* of `last`; the mean step */
    double slow, error, rest;    /* the mean; mean distances from it, from the season */
    struct phase phase[PHASES];
    struct known known[FEATURES + 1]; /* last: of what is saved, only n of them */
};

static inline void known_remove(struct known *k, uint32_t at)
{
    k->n--;
    memmove(k->value + at, k->value + at + 1, (k->n - at) * sizeof(*k->value));
    memmove(k->seen + at, k->seen + at + 1, (k->n - at) * sizeof(*k->seen));
}

static inline int known_is_old(const struct known *k, uint32_t at, uint32_t now)
{
    return now - k->seen[at] > MEMORY;
}

/* Values closer than a part become one; the ends stay. */
static inline void known_thin(struct known *k, double part)
{
    uint32_t n = 1;
    for (uint32_t i = 1; i < k->n; i++) {
        const int is_last = i + 1 == k->n;
        if (k->value[i] - k->value[n - 1] >= part || (is_last && n == 1)) {
            k->value[n] = k->value[i];
            k->seen[n++] = k->seen[i];
            continue;
        }
        if ((int32_t)(k->seen[i] - k->seen[n - 1]) > 0)
            k->seen[n - 1] = k->seen[i];
        if (is_last)
            k->value[n - 1] = k->value[i];
    }
    k->n = n;
}

/* The first that is not less than x. Branches first: a processor that guesses asks for far memory early; the last values, of a
 * line of memory or two, without one that nobody could foretell. */
static inline uint32_t known_find(const struct known *k, double x)
{
    const double *first = k->value;
    uint32_t n = k->n;
    while (n > NEAR) {
        uint32_t half = n / 2;
        if (first[half] < x) {
            first += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    for (; n; n -= (n + 1) / 2)
        first += (n + 1) / 2 & -(uint32_t)(first[n / 2] < x);
    return (uint32_t)(first - k->value);
}

/* The distance of x as a part of the range, 0 to 1. It is known from then on. */
static inline double known_distance(struct known *k, double x, uint32_t now)
{
    while (k->n && known_is_old(k, k->n - 1, now))
        k->n--;
    while (k->n && known_is_old(k, 0, now))
        known_remove(k, 0);
    uint32_t at = known_find(k, x);
    while (at < k->n && known_is_old(k, at, now))
        known_remove(k, at);
    while (at > 0 && known_is_old(k, at - 1, now))
        known_remove(k, --at);
    double range = k->n ? k->value[k->n - 1] - k->value[0] : 0, part = range / PARTS;
    double above = at < k->n ? k->value[at] - x : INFINITY;
    double below = at > 0 ? x - k->value[at - 1] : INFINITY;
    double distance = below < above ? below : above;
    if (k->n && (distance == 0 || distance < part)) {
        k->seen[at - (below < above)] = now;
        return range > 0 ? distance / range : 0;
    }
    double result = !k->n ? 0 : distance < range ? distance / range : 1;
    memmove(k->value + at + 1, k->value + at, (k->n - at) * sizeof(*k->value));
    memmove(k->seen + at + 1, k->seen + at, (k->n - at) * sizeof(*k->seen));
    k->value[at] = x;
    k->seen[at] = now;
    if (++k->n == KNOWN_MAX)
        known_thin(k, (k->value[k->n - 1] - k->value[0]) / PARTS);
    if (k->n == KNOWN_MAX) /* so small that the parts of their range are rounded */
        known_remove(k, k->n / 2);
    return result;
}

static inline double more_of(double a, double b)
{
    return a > b ? a : b;
}

/* ---- Features ------------------------------------------------------------------------------------ */

static inline void features_of(const struct detector *d, double x, double *ret)
{
    uint32_t n = d->rows + 1 < LAST ? (uint32_t)d->rows + 1 : LAST;
    double sum = 0, squares = 0, least = x, greatest = x;
    for (uint32_t i = 0; i < n; i++) {
        double v = d->last[i];
        sum += v;
        least = v < least ? v : least;
        greatest = v > greatest ? v : greatest;
    }
    double mean = sum / n;
    for (uint32_t i = 0; i < n; i++)
        squares += (d->last[i] - mean) * (d->last[i] - mean);
    ret[VALUE] = x;
    ret[MEAN] = mean;
    ret[SPREAD] = sqrt(squares / n);
    ret[LEAST] = least;
    ret[GREATEST] = greatest;
}

/* ---- Season --------------------------------------------------------------------------------------- */

/* The phase of a time, as of now: what the cycle before this one has taught is in its mean. */
static inline struct phase *season_phase(struct detector *d, int64_t time_us,
                                         int64_t season_us)
{
    int64_t into_us = time_us % season_us, cycle = time_us / season_us;
    if (into_us < 0) {
        into_us += season_us;
        cycle--;
    }
    struct phase *p =
        &d->phase[(uint32_t)((double)into_us / (double)season_us * PHASES) % PHASES];
    if (p->rows && p->cycle != cycle) {
        p->cycles += p->cycles < SEASON_CYCLES;
        p->mean += (p->sum / p->rows - p->mean) / p->cycles;
        p->sum = 0;
        p->rows = 0;
    }
    p->cycle = cycle;
    return p;
}

/* How unusual the value is at its time of the season; the mean of that to *expected. */
static inline double season_take(struct detector *d, double x, int64_t time_us,
                                 int64_t season_us, double *expected)
{
    struct phase *p = season_phase(d, time_us, season_us);
    double unusual = 0;
    if (p->cycles) {
        double rest = x - p->mean;
        d->error += (fabs(x - d->slow) - d->error) / MEMORY;
        d->rest += (fabs(rest) - d->rest) / MEMORY;
        double distance = known_distance(&d->known[SEASONAL], rest, (uint32_t)d->rows);
        if (p->cycles >= SEASON_LEARN && d->rest < SEASON_GATE * d->error) {
            unusual = distance / SEASON_BAR;
            *expected = p->mean;
        }
    }
    /* The mean that a season has to be better than forgets as fast as a phase. */
    double passed = d->rows ? (double)time_us - (double)d->time_us : 0;
    double cycles = passed / ((double)season_us * SEASON_CYCLES);
    double rate = 1 / ((double)d->rows + 1);
    if (cycles + 1e-15 > rate) /* 1 - exp(-c) is at most c */
        rate = more_of(1 - exp(-cycles), rate);
    d->slow += (x - d->slow) * rate;
    p->sum += x;
    p->rows += p->rows < UINT32_MAX;
    return unusual;
}

/* ---- Still ---------------------------------------------------------------------------------------- */

static inline double still_take(struct detector *d, double step)
{
    double unusual = 0, size = fabs(step);
    if (size > d->step) {
        d->runs += d->run > 1 && d->runs < STILL_RUNS;
        d->longest = d->run > d->longest ? d->run : d->longest;
        d->run = 0;
        d->told = 0;
    } else if (d->run < UINT32_MAX) {
        d->run++;
        if (d->runs == STILL_RUNS && !d->told && d->run / STILL_TIMES > d->longest) {
            d->told = 1;
            unusual = 2;
        }
    }
    d->step += (size - d->step) / (double)(d->rows < MEMORY ? d->rows : MEMORY);
    return unusual;
}

/* ---- All of it ------------------------------------------------------------------------------------- */

struct judgement {
    double unusual; /* from 0; 1: an anomaly */
    double expected;
    int verdict; /* the first row of what is unusual, or goes on to be */
};

/* season_us 0: there is none. |x| is at most 1e150, so that no square overflows. */
static inline struct judgement detector_take(struct detector *d, double x,
                                             int64_t time_us, int64_t season_us,
                                             double sensitivity)
{
    struct judgement j = {.expected = x};
    double feature[FEATURES], sum = 0, other = 0;
    const uint32_t now = (uint32_t)d->rows;
    double before = d->rows ? d->last[(d->rows - 1) % LAST] : x;
    if (d->rows)
        j.expected = d->mean;
    d->last[d->rows % LAST] = x;
    features_of(d, x, feature);
    feature[STEP] = x - before;
    d->mean = feature[MEAN];
    for (int i = 0; i < FEATURES; i++)
        sum += sqrt(known_distance(&d->known[i], feature[i], now));
    sum /= FEATURES;
    j.unusual = sum * sum / BAR;
    if (d->rows)
        j.unusual = more_of(j.unusual, still_take(d, x - before));
    if (season_us)
        other = season_take(d, x, time_us, season_us, &j.expected);
    j.unusual = more_of(j.unusual, other) * sensitivity;
    j.verdict = j.unusual > 1 && d->rows >= LEARN && !d->silent;
    d->silent = j.verdict ? LAST : d->silent - (d->silent > 0);
    d->time_us = time_us;
    d->rows++;
    return j;
}

#endif
