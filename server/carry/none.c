/* SPDX-License-Identifier: Apache-2.0
 *
 * Without libpq: a configuration that asks for it is refused before (config/postgresql_section.c). What another build has kept is
 * kept for nobody.
 */
#include "carry/carry.h"
#include "target/kind.h"

#include <errno.h>

static const struct config_target *settings(const struct config *c)
{
    (void)c;
    return NULL;
}

const struct target_kind carry_kind = {.to = CARRIED_POSTGRESQL, .settings = settings};

int carry_try(const struct config_postgresql *config, char ret_text[256],
              struct error *error)
{
    (void)config, (void)ret_text;
    return error_set(error, -ENOTSUP, "this weir was built without libpq");
}
