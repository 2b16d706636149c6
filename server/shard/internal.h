/* SPDX-License-Identifier: Apache-2.0
 *
 * What router and shard have in common: a pipeline of a configuration that can be dealt by key.
 */
#ifndef WEIR_SHARD_INTERNAL_H
#define WEIR_SHARD_INTERNAL_H

#include "base/crc32c.h"
#include "journal/codec.h"
#include "pipeline/pipeline.h"
#include "weir/shard.h"

struct job {
    struct config *config;
    struct config_pipeline *pipeline; /* of the configuration */
    struct config_stream *stream;
    struct plugins *plugins;
    struct pipeline *made;
    struct schema *
        sent; /* rows on their way: the columns of the stream that the pipeline looks at */
    size_t sent_from[SCHEMA_COLUMNS_MAX]; /* which they are there */
    struct codec_map *map;                /* to the stream's own */
    uint32_t parts;
    char *program; /* NULL: none is known */
};

/* As weir_router_open, weir_shard_open. What it has so far is for job_free also where it fails. */
int job_make(struct job *p, const struct weir_shard_options *options,
             struct weir_shard_error *error);
void job_free(struct job *p);

/* Of the pipeline, in front of the text; returns err. */
int job_error(const struct job *p, int err, const struct error *why,
              struct weir_shard_error *ret);

/* The part of a key: the same in every process. */
static inline uint32_t job_part(const struct job *p, const char *key, size_t size)
{
    return crc32c(0, key, size) % p->parts;
}

#endif
