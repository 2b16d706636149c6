/* SPDX-License-Identifier: Apache-2.0 */
#include "source/pull.h"

#include <errno.h>

int kafka_try(const struct config_source *config, struct error *error)
{
    (void)config;
    return error_set(error, -ENOSYS, "built without librdkafka");
}

void kafka_run(struct pull *p)
{
    pull_fail(p, -ENOSYS, "built without librdkafka");
}
