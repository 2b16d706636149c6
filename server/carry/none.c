/* SPDX-License-Identifier: Apache-2.0
 *
 * Without libpq: a configuration that asks for it is refused before (config/postgresql_section.c). What another build has kept is
 * kept for nobody.
 */
#include "carry/carry.h"
#include "carry/read.h"
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

int carry_try_copy(const struct config_postgresql *config, char ret_text[256],
                   struct error *error)
{
    return carry_try(config, ret_text, error);
}

/* ---- Reading: there is no pool, so nobody asks ---------------------------------------------------- */

struct read_pool *read_pool_new(const struct config_postgresql *config,
                                int64_t timeout_us)
{
    (void)config, (void)timeout_us;
    return NULL;
}

void read_pool_free(struct read_pool *p)
{
    (void)p;
}

int read_get(struct read_pool *p, struct read **ret, struct error *error)
{
    (void)p, (void)ret;
    return error_set(error, -ENOTSUP, "this weir was built without libpq");
}

void read_put(struct read *r)
{
    (void)r;
}

sqlite3_stmt *read_params(struct read *r, int n)
{
    (void)r, (void)n;
    return NULL;
}

int read_begin(struct read *r, const char *sql, const enum weir_type *of_params,
               const enum weir_type *of_columns, int n, struct error *error)
{
    (void)r, (void)sql, (void)of_params, (void)of_columns, (void)n;
    return error_set(error, -ENOTSUP, "this weir was built without libpq");
}

int read_step(struct read *r, sqlite3_stmt **ret, struct error *error)
{
    (void)r, (void)ret;
    return error_set(error, -ENOTSUP, "this weir was built without libpq");
}

int carry_claim(const struct config_postgresql *config, const struct carry_stop *stop,
                struct carry_claim *ret, struct error *error)
{
    (void)config, (void)stop, (void)ret;
    return error_set(error, -ENOTSUP, "this weir was built without libpq");
}

int carry_fetch(const struct config_postgresql *config, const struct carry_stop *stop,
                const struct carry_claim *claim, int fd, struct error *error)
{
    (void)config, (void)stop, (void)claim, (void)fd;
    return error_set(error, -ENOTSUP, "this weir was built without libpq");
}
