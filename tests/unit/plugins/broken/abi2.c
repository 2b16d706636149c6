/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin of a later ABI.
 */
__attribute__((visibility("default"))) extern const int weir_plugin_abi2;
const int weir_plugin_abi2 = 1;
