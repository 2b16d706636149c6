/* SPDX-License-Identifier: Apache-2.0
 *
 * A pipeline with all it needs: configuration, plugins, log. What fails here fails the test.
 */
#ifndef WEIR_TESTS_UNIT_PIPELINE_FIXTURE_H
#define WEIR_TESTS_UNIT_PIPELINE_FIXTURE_H

#include "pipeline/pipeline.h"

struct stage {
    struct config *config;
    struct metrics *metrics;
    struct tasks *tasks;
    struct plugins *plugins;
    struct pipeline *pipeline; /* the first of the configuration */
    struct log *log;           /* of its first stream */
};

void stage_prepare(struct stage *s, const char *config_text,
                   const struct pipeline_sink *sink, int64_t watermark_us);

/* From options.position on. Name and schema are those of the stream; queue_events 0: 100,000. */
void stage_start(struct stage *s, struct log_options options);

/* Takes over the batch. */
int stage_append(struct stage *s, struct batch *b);

/* The log ends so, and the pipeline with it. */
void stage_end(struct stage *s, enum log_end end, struct pipeline_status *ret);

void stage_free(struct stage *s);

#endif
