/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON body of POST /api/v1/sql: sql, params, timeout_ms, format, times. Strings have a length: zeros in them stay.
 */
#ifndef WEIR_API_SQLBODY_H
#define WEIR_API_SQLBODY_H

#include "base/error.h"
#include "query/message.h"

#include <stdbool.h>

struct sqlbody {
    const char *sql; /* NULL: not given */
    size_t sql_size;
    bool has_params;
    size_t n_params;
    struct query_param *param;
    const char *format, *times; /* NULL: not given; zero-terminated */
    int64_t timeout_ms;         /* 0: not given */
    char *text;                 /* of all strings */
};

/* -EINVAL: the text says what is wrong; -ENOMEM. */
int sqlbody_parse(const char *body, size_t size, struct sqlbody *ret,
                  struct error *error);
void sqlbody_free(struct sqlbody *b);

#endif
