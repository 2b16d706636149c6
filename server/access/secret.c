/* SPDX-License-Identifier: Apache-2.0 */
#include "access/secret.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#define PREFIX       "weir_"
#define ID_BYTES     6
#define SECRET_BYTES 32

void secret_put_hex(const uint8_t *bytes, size_t n, char *to)
{
    static const char digit[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *to++ = digit[bytes[i] >> 4];
        *to++ = digit[bytes[i] & 15];
    }
    *to = 0;
}

int secret_make(char ret_id[SECRET_ID_MAX + 1], char ret_text[SECRET_TEXT_MAX],
                struct error *error)
{
    uint8_t chance[ID_BYTES + SECRET_BYTES];
    if (getrandom(chance, sizeof(chance), 0) != (ssize_t)sizeof(chance))
        return error_set(error, -EIO, "no random bytes: %s", strerror(errno));
    secret_put_hex(chance, ID_BYTES, ret_id);
    strcpy(ret_text, PREFIX);
    strcat(ret_text, ret_id);
    strcat(ret_text, "_");
    secret_put_hex(chance + ID_BYTES, SECRET_BYTES, ret_text + strlen(ret_text));
    explicit_bzero(chance, sizeof(chance));
    return 0;
}

bool secret_is_id(const char *text, size_t size)
{
    return size > 0 && size <= SECRET_ID_MAX &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789") >= size;
}

bool secret_id(const char *text, char ret_id[SECRET_ID_MAX + 1])
{
    if (strncmp(text, PREFIX, sizeof(PREFIX) - 1) != 0)
        return false;
    const char *id = text + sizeof(PREFIX) - 1;
    size_t size = strcspn(id, "_");
    if (!id[size] || !secret_is_id(id, size))
        return false;
    memcpy(ret_id, id, size);
    ret_id[size] = 0;
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool secret_digest(const char *text, uint8_t ret[32])
{
    if (strlen(text) != 64)
        return false;
    for (size_t i = 0; i < 32; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* RFC 4648, 4; into at most `room` bytes. How many; -1: it is none, or too long. */
static int base64(const char *text, uint8_t *to, size_t room)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0, size = strcspn(text, "=");
    unsigned bits = 0, have = 0;
    if (strlen(text) % 4 || strlen(text) - size > 2 ||
        strspn(text + size, "=") != strlen(text) - size)
        return -1;
    for (size_t i = 0; i < size; i++) {
        const char *at = strchr(digits, text[i]);
        if (!at)
            return -1;
        bits = bits << 6 | (unsigned)(at - digits);
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        if (n == room)
            return -1;
        to[n++] = (uint8_t)(bits >> have);
    }
    return (int)n;
}

/* The word of the scheme, and what stands behind it; NULL: it is another one. */
static const char *behind(const char *field, const char *scheme)
{
    size_t n = strlen(scheme);
    if (strncasecmp(field, scheme, n) != 0 || field[n] != ' ')
        return NULL;
    return field + n + strspn(field + n, " ");
}

bool secret_of_field(const char *field, char ret_text[SECRET_TEXT_MAX])
{
    uint8_t plain[2 * SECRET_TEXT_MAX];
    const char *text = behind(field, "Bearer");
    size_t size;
    if (!text)
        text = behind(field, "Token");
    if (text) {
        size = strlen(text);
    } else if ((text = behind(field, "Basic"))) {
        int n = base64(text, plain, sizeof(plain));
        const uint8_t *colon = n > 0 ? memchr(plain, ':', (size_t)n) : NULL;
        if (!colon)
            return false;
        text = (const char *)colon + 1;
        size = (size_t)(plain + n - (colon + 1));
    } else {
        return false;
    }
    if (size == 0 || size >= SECRET_TEXT_MAX || memchr(text, 0, size))
        return false;
    memcpy(ret_text, text, size);
    ret_text[size] = 0;
    return true;
}
