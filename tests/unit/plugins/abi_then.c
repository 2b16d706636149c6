/* SPDX-License-Identifier: Apache-2.0
 *
 * The header of plugins as ABI 1 was frozen.
 */
#include "../../abi/1/weir/plugin.h"

#include "abi_layout.h"

const struct abi_place abi_then[] = {ABI_PLACES};
