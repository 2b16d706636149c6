/* SPDX-License-Identifier: Apache-2.0
 *
 * What every Prometheus user looks for: weir_build_info, and the process_* metrics of the client libraries.
 */
#ifndef WEIR_BASE_SELF_H
#define WEIR_BASE_SELF_H

#include "base/metrics.h"

/* `version` and `sqlite` are those of the label. -ENOMEM. */
int self_count(struct metrics *m, const char *version, const char *sqlite);

#endif
