/* SPDX-License-Identifier: Apache-2.0
 *
 * What each thread is doing for whom: so that the one plugin that crashes the process, or does not come back, has
 * a name. A crash writes it into a file, for the next start. Does nothing before doing_open; then for threads that say
 * so.
 */
#ifndef WEIR_BASE_DOING_H
#define WEIR_BASE_DOING_H

#include <stdbool.h>
#include <stdint.h>

#define DOING_NAME_MAX 104

struct doing {
    uint64_t position;             /* of the entry */
    int32_t signal;                /* that ended the process here; 0: none */
    int32_t inside;                /* of the analyzer's code */
    uint64_t place;                /* of the analyzer, from 1; 0: not known */
    char pipeline[DOING_NAME_MAX]; /* cut; "": nothing */
    char analyzer[DOING_NAME_MAX]; /* "": none of them */
};

/* How the process before was ended, if it was by a thread that said what it did. False: nothing is known. */
bool doing_read(const char *path, struct doing *ret);
/* Empties the file; from then on threads note what they do. -errno: there is no file, nothing is noted. */
int doing_open(const char *path);
void doing_close(void);

/* The calling thread's. A pipeline is named for a turn, NULL ends it. */
void doing_pipeline(const char *pipeline, uint64_t position);
void doing_analyzer(const char *analyzer, uint64_t place);
void doing_no_analyzer(void);
/* The thread ends, and others like it will come: its place is for them. */
void doing_over(void);

/* Those who do something now; may be a little wrong. */
void doing_each(void (*call)(void *ctx, const struct doing *d), void *ctx);

#endif
