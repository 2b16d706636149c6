/* SPDX-License-Identifier: Apache-2.0
 *
 * Networks of addresses: "10.0.0.0/8", "fd00::/8", an address alone. IPv4 in IPv6 (::ffff:10.0.0.1) is IPv4.
 */
#ifndef WEIR_BASE_CIDR_H
#define WEIR_BASE_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cidr {
    uint8_t address[16]; /* IPv6 */
    unsigned bits;       /* of it that count */
};

bool cidr_parse(const char *text, struct cidr *ret);
bool cidr_has(const struct cidr *net, const uint8_t address[16]);
/* An address, with or without brackets and zone. False: it is none. */
bool cidr_address(const char *text, size_t size, uint8_t ret[16]);

#endif
