/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of the pages at /, of a server and of a node, as text: server/api/page/. Made into constants by sql/embed.sh.
 */
#ifndef WEIR_API_PAGE_H
#define WEIR_API_PAGE_H

#include "http/http.h"

/* One of them, such as "index.html"; 404. */
void page_send(struct http_request *r, const char *name);

extern const char page_index[], page_node[], page_style[];
extern const char page_main[], page_nodes[], page_theme[], page_watch[], page_net[],
    page_dom[], page_download[], page_format[], page_chart[];
extern const char page_overview[], page_results[], page_console[], page_letters[],
    page_graph[];

#endif
