/* SPDX-License-Identifier: Apache-2.0
 *
 * Without librdkafka: a configuration that asks for it is refused before (config/kafka_section.c). What another build has kept is
 * kept for nobody.
 */
#include "publish/publish.h"
#include "target/kind.h"

#include <errno.h>

static const struct config_target *settings(const struct config *c)
{
    (void)c;
    return NULL;
}

const struct target_kind publish_kind = {.to = CARRIED_KAFKA, .settings = settings};

int publish_try(const struct config_kafka *config, char ret_text[256],
                struct error *error)
{
    (void)config, (void)ret_text;
    return error_set(error, -ENOTSUP, "this weir was built without librdkafka");
}
