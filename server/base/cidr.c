/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cidr.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define V4_BITS 96 /* of IPv6 before an address of IPv4 */

bool cidr_address(const char *text, size_t size, uint8_t ret[16])
{
    static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};
    char copy[INET6_ADDRSTRLEN];
    if (size >= 2 && text[0] == '[' && text[size - 1] == ']') {
        text++;
        size -= 2;
    }
    if (size == 0 || size >= sizeof(copy))
        return false;
    memcpy(copy, text, size);
    copy[size] = 0;
    if (inet_pton(AF_INET6, copy, ret) == 1)
        return true;
    memcpy(ret, v4, sizeof(v4));
    return inet_pton(AF_INET, copy, ret + sizeof(v4)) == 1;
}

bool cidr_parse(const char *text, struct cidr *ret)
{
    size_t size = strcspn(text, "/");
    const char *bits = text + size;
    bool v6 = memchr(text, ':', size);
    unsigned long most = v6 ? 128 : 32, n = most;
    if (*bits) {
        size_t digits = strspn(bits + 1, "0123456789");
        if (digits == 0 || digits > 3 || bits[1 + digits])
            return false;
        n = strtoul(bits + 1, NULL, 10);
    }
    if (n > most || !cidr_address(text, size, ret->address))
        return false;
    ret->bits = (unsigned)n + (v6 ? 0 : V4_BITS);
    return true;
}

bool cidr_has(const struct cidr *net, const uint8_t address[16])
{
    unsigned bytes = net->bits / 8, rest = net->bits % 8;
    if (memcmp(net->address, address, bytes) != 0)
        return false;
    return rest == 0 || (net->address[bytes] ^ address[bytes]) >> (8 - rest) == 0;
}
