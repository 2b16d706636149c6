/* SPDX-License-Identifier: Apache-2.0
 *
 * What crashes of analyzers have taught, kept over a restart: a file of lines beside the journals, for people to read, too.
 *
 *      thread PIPELINE PLACE ANALYZER SIGNAL ENTRY SECONDS FILE CONFIGURATION     it ended the server
 *      aside PIPELINE PLACE ANALYZER FIRST LAST                                   rows that ended its process, set aside
 *
 * An analyzer that ended the server runs in a process of its own from the next start on or, with `on_crash: stop`, its pipeline
 * is left out: until its file, or one that its parameters name, is another one (sum FILE), or what the configuration says of it
 * (sum CONFIGURATION).
 *
 *      .crashed (base/doing.h) --crashes_note--> .crashes --crashes_apply--> configuration --> pipelines
 *
 * For one thread at a time.
 */
#ifndef WEIR_CRASHES_H
#define WEIR_CRASHES_H

#include "base/doing.h"
#include "config/config.h"
#include "plugin/loader.h"

#define CRASHES_MAX                                                                    \
    10000 /* lines of rows set aside; those of analyzers always have room */

struct crash {
    bool aside;
    char pipeline[DOING_NAME_MAX], analyzer[DOING_NAME_MAX];
    size_t place; /* from 1 */
    /* thread */
    int signal;
    uint64_t entry;
    int64_t seconds; /* since 1970 */
    uint32_t file, configuration;
    bool applies; /* to what was configured at the start; not in the file */
    /* aside: sequence numbers */
    uint64_t first, last;
};

struct crashes {
    char *path;
    struct crash *list;
    size_t n, n_aside;
    bool changed;
};

/* Those of the folder of journals; none where there is no file, and what is no such line is left out. -ENOMEM, -errno. */
int crashes_read(const char *folder, struct crashes **ret);
void crashes_free(struct crashes *c); /* takes NULL */

/* The server was ended like this: that is logged, at once, as nobody knows whether this start succeeds; the analyzer is noted,
 * on disk before it returns, if the configuration has it in a thread. `c` NULL: only logged. */
void crashes_note(struct crashes *c, const struct doing *d, const struct config *config,
                  struct plugins *plugins);

/* Before pipelines are made of a configuration: analyzers that ended the server get their process (config_analyzer.moved),
 * pipelines that are to stop a reason (config_pipeline.left_out). `plugins`: the first time, their files are looked at;
 * what is loaded stays, and later NULL will do. -ENOMEM. */
int crashes_apply(struct crashes *c, struct config *config, struct plugins *plugins);

/* Leaves out the rows set aside for which keep(ctx, one) is false. */
void crashes_drop(struct crashes *c, bool (*keep)(void *ctx, const struct crash *one),
                  void *ctx);

/* Once, when all that is known: says what runs otherwise than configured; forgets what is mended. */
void crashes_settle(struct crashes *c);

/* Rows of an analyzer are set aside from now on; on disk before it returns. -E2BIG, -ENOMEM, -errno. */
int crashes_set_aside(struct crashes *c, const char *pipeline, size_t place,
                      const char *analyzer, uint64_t first, uint64_t last);
/* What was set aside for a pipeline is not any more, on disk before it returns. */
void crashes_forget_aside(struct crashes *c, const char *pipeline);

#endif
