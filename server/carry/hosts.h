/* SPDX-License-Identifier: Apache-2.0
 *
 * The hosts that `connect` names. libpq tries one after the other, but whoever has its waits in his own hands is left with the first that
 * does not answer: each is a connection of its own here, with a limit of its own.
 */
#ifndef WEIR_CARRY_HOSTS_H
#define WEIR_CARRY_HOSTS_H

#include <libpq-fe.h>
#include <stdint.h>

struct hosts {
    size_t n;        /* 1: libpq has it all */
    int64_t each_us; /* how long one may take */
    struct hosts_list {
        const char *key;
        char *text; /* "a,b,c"; NULL: none */
    } list[3];
};

/* Of a connection that has begun, whose hosts may be from a service or from the environment, too. -ENOMEM. */
int hosts_of(PGconn *c, int64_t timeout_us, struct hosts *ret);
void hosts_free(struct hosts *h);

/* What is said of the one at i: up to three keys with values, which hosts_free_one frees. Returns how many, or -ENOMEM. */
int hosts_one(const struct hosts *h, size_t i, const char *key[3], char *value[3]);

void hosts_free_one(char *value[3]);

#endif
