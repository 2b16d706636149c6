/* SPDX-License-Identifier: Apache-2.0
 *
 * Does an analyzer keep what it promises? A plugin is loaded in a process of its own, and tried in further ones on rows
 * made by chance: whatever it does, crash, hang, write where it must not, is a verdict. Rows that break a law are
 * made fewer and simpler as long as they still do, and written down as a C program.
 */
#ifndef WEIR_LAWS_LAWS_H
#define WEIR_LAWS_LAWS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct laws_options {
    const char *path; /* FOLDER/NAME.so */
    const char *with; /* parameters as YAML, "of: price, k: 3"; or NULL */
    const char *const
        *except;      /* names of laws that are not tried, NULL-ended; or NULL */
    bool exact;       /* merging gives every bit of what folding gives */
    unsigned limit_s; /* for all trials of a law; 0: 20 s */
    uint64_t seed;
    FILE *
        to; /* a line for each law, and what broke it; of a descriptor: other processes write to it */
    FILE *
        program; /* the C program of the first law that is broken; NULL: it is not wanted */
};

/* 0: it keeps all laws, 1: it does not, 2: it cannot be loaded or tried, and `to` tells why. */
int laws_check(const struct laws_options *o);

/* Does a law of this name exist? */
bool laws_has(const char *name);
/* All of them, with what they say, a line each. */
void laws_list(FILE *to);

#endif
