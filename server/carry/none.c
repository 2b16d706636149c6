/* SPDX-License-Identifier: Apache-2.0
 *
 * Without libpq: a configuration that asks for it is refused before (config/postgresql_section.c).
 */
#include "carry/carry.h"
#include "store/carried.h"

#include <errno.h>

const char *const carry_state_word[] = {"", "", "", "", ""};

static bool is_left_out(void *ctx, const char *pipeline)
{
    (void)ctx, (void)pipeline;
    return false;
}

int carry_check(const struct config *config, struct pipeline *const *pipeline, size_t n,
                struct error *error)
{
    (void)config, (void)pipeline, (void)n, (void)error;
    return 0;
}

/* What another build has kept is kept for nobody. */
int carry_prepare(struct store *store, struct config *config, struct config *server,
                  struct pipeline *const *pipeline, size_t n, struct carry_set **ret,
                  struct error *error)
{
    (void)config, (void)server, (void)pipeline, (void)n;
    char database[CARRIED_ID];
    *ret = NULL;
    return carried_open(store, CARRIED_POSTGRESQL, NULL, 0, NULL, is_left_out, NULL,
                        NULL, database, error);
}

void carry_set_free(struct carry_set *s)
{
    (void)s;
}

int carry_new(struct store *store, struct metrics *metrics, struct carry_set *set,
              struct carrier **ret, struct error *error)
{
    (void)store, (void)metrics, (void)set, (void)ret;
    return error_set(error, -ENOTSUP, "this weir was built without libpq");
}

void carry_end(struct carrier *c)
{
    (void)c;
}

void carry_free(struct carrier *c)
{
    (void)c;
}

int carry_hold(struct carrier *c, struct error *error)
{
    (void)c, (void)error;
    return 0;
}

void carry_release(struct carrier *c)
{
    (void)c;
}

void carry_exchange(struct carrier *c, struct carry_set *set)
{
    (void)c, (void)set;
}

void carry_each(struct carrier *c, const char *pipeline,
                void (*call)(void *ctx, const struct carry_status *s), void *ctx)
{
    (void)c, (void)pipeline, (void)call, (void)ctx;
}

int carry_try(const struct config_postgresql *config, char ret_text[256],
              struct error *error)
{
    (void)config, (void)ret_text;
    return error_set(error, -ENOTSUP, "this weir was built without libpq");
}
