/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of the page at /, as text: server/api/page/. Made into constants by sql/embed.sh.
 */
#ifndef WEIR_API_PAGE_H
#define WEIR_API_PAGE_H

extern const char page_index[], page_style[];
extern const char page_main[], page_watch[], page_net[], page_dom[], page_download[],
    page_format[], page_chart[];
extern const char page_overview[], page_results[], page_console[], page_letters[],
    page_graph[];

#endif
