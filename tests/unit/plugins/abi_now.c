/* SPDX-License-Identifier: Apache-2.0
 *
 * The header of plugins as it is.
 */
#include "weir/plugin.h"

#include "abi_layout.h"

const struct abi_place abi_now[] = {ABI_PLACES};
