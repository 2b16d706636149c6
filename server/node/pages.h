/* SPDX-License-Identifier: Apache-2.0
 *
 * What a node answers by HTTP.
 */
#ifndef WEIR_NODE_PAGES_H
#define WEIR_NODE_PAGES_H

#include "http/http.h"

struct weir_node;
struct pages;

int pages_new(struct weir_node *n, struct pages **ret, struct error *error);
void pages_free(struct pages *p); /* takes NULL */

/* Tokens and certificates are read again; says what came of it. */
void pages_reload(struct pages *p);

/* elsewhere.c, for a route with the node as its ctx. */
void elsewhere_get(struct http_request *r, void *node);

#endif
