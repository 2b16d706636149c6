/* SPDX-License-Identifier: Apache-2.0
 *
 * Workload W1: trades as NDJSON, the same bytes on every machine and in every run.
 *
 *      {"ts":1700000000123,"symbol":"SYM0042","price":123.45,"qty":17,"side":"buy","venue":"XNAS"}
 *
 * One event a millisecond, up to 3 ms of jitter (so neighbours change places), 1,000
 * symbols with Zipf(1.0) frequencies, the price of each a random walk of two decimals.
 * 5,000,000 events are about 463 MB, and about 453,000 groups of symbol and 10 seconds.
 *
 * With -k N there are N symbols, of seven digits, equally frequent: each of them comes once
 * in every N events, in another order each time; every thousandth has the same price.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYMBOLS       1000u
#define START_MS      UINT64_C(1700000000000) /* a multiple of 10 seconds */
#define JITTER_MS     4u                      /* 0 to 3 */
#define LINE_MAX_SIZE 128u
#define DECK_MAX      10000000u /* symbols of seven digits */
#define PRICE_LEAST   500       /* cents */
#define PRICE_MOST    99999     /* cents */

static uint64_t random_state = UINT64_C(0x57454952); /* the seed: "WEIR" */

/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
 * 2014). */
static uint64_t random_next(void)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0 to n - 1. */
static unsigned random_below(unsigned n)
{
    return (unsigned)((random_next() >> 32) * n >> 32);
}

/* Zipf(1.0) by the alias method (Vose, A linear algorithm for generating random numbers
 * with a given distribution, 1991): column i gives i below its threshold, its alias
 * above. Integers only, so that no machine's rounding matters: weights are SCALE /
 * rank. */
struct zipf {
    uint64_t threshold[SYMBOLS]; /* of 2^32 */
    unsigned alias[SYMBOLS];
};

static void zipf_init(struct zipf *z)
{
    const uint64_t scale = UINT64_C(1) << 52;
    uint64_t weight[SYMBOLS];
    uint64_t sum = 0;
    unsigned small[SYMBOLS], large[SYMBOLS];
    size_t n_small = 0, n_large = 0;
    for (unsigned i = 0; i < SYMBOLS; i++)
        sum += weight[i] = scale / (i + 1);
    for (unsigned i = 0; i < SYMBOLS; i++) {
        weight[i] *= SYMBOLS; /* the mean is now `sum` */
        if (weight[i] < sum)
            small[n_small++] = i;
        else
            large[n_large++] = i;
        z->threshold[i] = UINT64_C(1) << 32;
        z->alias[i] = i;
    }
    while (n_small > 0 && n_large > 0) {
        unsigned s = small[--n_small], l = large[n_large - 1];
        z->threshold[s] = weight[s] / (sum >> 32);
        z->alias[s] = l;
        weight[l] -= sum - weight[s];
        if (weight[l] < sum) {
            n_large--;
            small[n_small++] = l;
        }
    }
}

static unsigned zipf_draw(const struct zipf *z)
{
    uint64_t r = random_next();
    unsigned i = (unsigned)((r >> 32) * SYMBOLS >> 32);
    return (r & UINT32_MAX) < z->threshold[i] ? i : z->alias[i];
}

/* Symbols that come equally often: drawn one by one, shuffled when all were (Fisher, Yates;
 * Durstenfeld, Algorithm 235, 1964). */
struct deck {
    unsigned *card;
    unsigned n, next; /* n 0: there is none, Zipf instead */
};

static int deck_init(struct deck *d, unsigned n)
{
    d->card = malloc(n * sizeof *d->card);
    if (!d->card)
        return -ENOMEM;
    for (unsigned i = 0; i < n; i++)
        d->card[i] = i;
    d->n = d->next = n;
    return 0;
}

static void deck_shuffle(struct deck *d)
{
    for (unsigned i = d->n; i > 1; i--) {
        unsigned other = random_below(i), card = d->card[other];
        d->card[other] = d->card[i - 1];
        d->card[i - 1] = card;
    }
    d->next = 0;
}

static unsigned deck_draw(struct deck *d)
{
    if (d->next == d->n)
        deck_shuffle(d);
    return d->card[d->next++];
}

static char *put_digits(char *p, uint64_t v, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; v /= 10)
        p[i] = (char)('0' + v % 10);
    return p + digits;
}

static char *put_number(char *p, uint64_t v)
{
    unsigned digits = 1;
    for (uint64_t w = v; w >= 10; w /= 10)
        digits++;
    return put_digits(p, v, digits);
}

static char *put_text(char *p, const char *text)
{
    return stpcpy(p, text);
}

struct market {
    struct zipf zipf;
    struct deck deck;
    int cents[SYMBOLS];
};

static int market_init(struct market *m, unsigned n_symbols)
{
    zipf_init(&m->zipf);
    for (unsigned i = 0; i < SYMBOLS; i++)
        m->cents[i] = PRICE_LEAST + (int)random_below(50000);
    return n_symbols ? deck_init(&m->deck, n_symbols) : 0;
}

/* A step of at most 5 cents, turned round at the ends of the range. */
static int market_step(struct market *m, unsigned symbol)
{
    int cents = m->cents[symbol] + (int)random_below(11) - 5;
    if (cents < PRICE_LEAST)
        cents = PRICE_LEAST + 5;
    if (cents > PRICE_MOST)
        cents = PRICE_MOST - 5;
    return m->cents[symbol] = cents;
}

static char *put_event(char *p, struct market *m, uint64_t number)
{
    static const char venues[4][5] = {"XNAS", "XNYS", "ARCX", "BATS"};
    unsigned symbol = m->deck.n ? deck_draw(&m->deck) : zipf_draw(&m->zipf);
    unsigned cents = (unsigned)market_step(m, symbol % SYMBOLS);
    p = put_text(p, "{\"ts\":");
    p = put_number(p, START_MS + number + random_below(JITTER_MS));
    p = put_text(p, ",\"symbol\":\"SYM");
    p = put_digits(p, symbol, m->deck.n ? 7 : 4);
    p = put_text(p, "\",\"price\":");
    p = put_number(p, cents / 100);
    *p++ = '.';
    p = put_digits(p, cents % 100, 2);
    p = put_text(p, ",\"qty\":");
    p = put_number(p, 1 + random_below(200));
    p = put_text(p, random_below(2) ? ",\"side\":\"buy\"" : ",\"side\":\"sell\"");
    p = put_text(p, ",\"venue\":\"");
    p = put_text(p, venues[random_below(4)]);
    return put_text(p, "\"}\n");
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static int write_events(int fd, uint64_t n, unsigned n_symbols)
{
    static struct market market;
    static char buffer[1 << 20];
    char *p = buffer;
    int err = market_init(&market, n_symbols);
    for (uint64_t i = 0; i < n && err == 0; i++) {
        p = put_event(p, &market, i);
        if ((size_t)(p - buffer) > sizeof buffer - LINE_MAX_SIZE || i + 1 == n) {
            err = write_all(fd, buffer, (size_t)(p - buffer));
            p = buffer;
        }
    }
    free(market.deck.card);
    return err;
}

static int usage(FILE *to, int status)
{
    fputs("usage: w1 [-n EVENTS] [-k SYMBOLS] [-o FILE]\n"
          "Writes EVENTS (5000000) trades as NDJSON to FILE (standard output).\n"
          "  -k SYMBOLS   so many, each equally often, at most 1e7; otherwise 1000, "
          "Zipf\n",
          to);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    uint64_t n = 5000000, n_symbols = 0;
    const char *path = NULL;
    for (int o; (o = getopt_long(argc, argv, "n:k:o:h", options, NULL)) != -1;) {
        if (o == 'n')
            n = strtoull(optarg, NULL, 10);
        else if (o == 'k')
            n_symbols = strtoull(optarg, NULL, 10);
        else if (o == 'o')
            path = optarg;
        else
            return o == 'h' ? usage(stdout, 0) : usage(stderr, 64);
    }
    if (optind != argc || n_symbols > DECK_MAX)
        return usage(stderr, 64);
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)
                  : STDOUT_FILENO;
    int err = fd < 0 ? -errno : write_events(fd, n, (unsigned)n_symbols);
    if (err == 0 && close(fd) != 0)
        err = -errno;
    if (err) {
        fprintf(stderr, "w1: %s: %s\n", path ? path : "standard output",
                strerror(-err));
        return 74;
    }
    return 0;
}
