/* SPDX-License-Identifier: Apache-2.0
 *
 * The head of a request, cut into strings where it lies.
 */
#include "http/head.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_ROOM_KEPT 64 /* pairs */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return (c | 32) >= 'a' && (c | 32) <= 'z';
}

/* RFC 9110, 5.6.2 */
static bool is_token(char c)
{
    static const uint64_t set[4] = {
        0x03ff6cfa00000000, /* ! # $ % & ' * + - . 0 to 9 */
        0x57ffffffc7fffffe, /* A to Z ^ _ ` a to z | ~ */
    };
    return set[(unsigned char)c >> 6] >> (c & 63) & 1;
}

/* -1: none */
static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    return (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static bool head_refuse(struct head_fault *f, unsigned status, const char *code,
                        const char *text)
{
    *f = (struct head_fault){status, code, text};
    return false;
}

static bool head_malformed(struct head_fault *f, const char *text)
{
    return head_refuse(f, 400, "malformed", text);
}

ssize_t head_end(const char *text, size_t size, size_t *scanned)
{
    const char *lf;
    while ((lf = memchr(text + *scanned, '\n', size - *scanned))) {
        size_t at = (size_t)(lf - text);
        if (at == 0 || text[at - 1] != '\r')
            return -EINVAL;
        *scanned = at + 1;
        if (at >= 3 && text[at - 2] == '\n')
            return (ssize_t)(at + 1);
    }
    *scanned = size;
    return 0;
}

static bool head_add(struct head *h, const char *name, const char *value,
                     size_t value_size, struct head_fault *fault)
{
    if (h->n_pairs == h->room) {
        size_t room = h->room ? h->room * 4 : HEAD_ROOM_KEPT;
        struct head_pair *pair = realloc(h->pair, room * sizeof(*pair));
        if (!pair)
            return head_refuse(fault, 503, "out_of_memory", "no memory");
        h->pair = pair;
        h->room = room;
    }
    h->pair[h->n_pairs++] = (struct head_pair){name, value, value_size};
    return true;
}

/* ---- The target ---- */

/* Undoes %XX, and + where it is a space; behind the text comes a zero. False: % without two digits. */
static bool head_decode(char *text, size_t *size, bool plus)
{
    char *to = text;
    for (const char *p = text, *end = text + *size; p < end; p++) {
        if (*p == '%') {
            if (end - p < 3 || hex_digit(p[1]) < 0 || hex_digit(p[2]) < 0)
                return false;
            *to++ = (char)(hex_digit(p[1]) << 4 | hex_digit(p[2]));
            p += 2;
        } else {
            *to++ = plus && *p == '+' ? ' ' : *p;
        }
    }
    *to = 0;
    *size = (size_t)(to - text);
    return true;
}

/* a=1&b=2, zero behind it */
static bool head_arguments(struct head *h, char *text, struct head_fault *fault)
{
    static const char percent[] =
        "% in the target is to be followed by two hexadecimal digits; % itself is %25";
    for (char *next; text; text = next) {
        next = strchr(text, '&');
        if (next)
            *next++ = 0;
        if (!*text)
            continue; /* "a=1&" ends in nothing */
        char *value = strchr(text, '=');
        if (value)
            *value++ = 0;
        else
            value = strchr(text, 0);
        size_t name_size = strlen(text), value_size = strlen(value);
        if (!head_decode(text, &name_size, true) ||
            !head_decode(value, &value_size, true))
            return head_malformed(fault, percent);
        if (strlen(text) < name_size)
            return head_malformed(fault, "the name of a parameter holds a zero");
        h->zeros |= strlen(value) < value_size;
        if (h->n_pairs - h->n_fields == HEAD_ARGUMENTS_MAX)
            return head_refuse(fault, 400, "too_many_parameters",
                               "there are more than 4096 parameters");
        if (!head_add(h, text, value, value_size, fault))
            return false;
    }
    return true;
}

/* http://host:port/path (RFC 9112, 3.2.2): its host stands for that of the field. The path. */
static char *head_absolute(struct head *h, char *target)
{
    char *host = strstr(target, "://") + 3;
    char *path = host + strcspn(host, "/?");
    /* One byte before the host is free: the host moves there, and the path keeps its slash. */
    memmove(host - 1, host, (size_t)(path - host));
    path[-1] = 0;
    h->host = host - 1;
    return path;
}

static bool head_is_absolute(const char *target)
{
    return strncasecmp(target, "http://", 7) == 0 ||
           strncasecmp(target, "https://", 8) == 0;
}

/* Path and arguments; after the fields, so that these come first. */
static bool head_target(struct head *h, char *target, struct head_fault *fault)
{
    static char root[] = "/";
    bool any = strcmp(target, "*") == 0 && strcmp(h->method, "OPTIONS") == 0;
    char *path = head_is_absolute(target) ? head_absolute(h, target) : target;
    if (*path != '/' && !any && path == target)
        return head_malformed(fault,
                              "the target is neither a path nor http://HOST/PATH");
    if (strchr(path, '#'))
        return head_malformed(fault, "the target holds a #; it is written %23");
    char *arguments = strchr(path, '?');
    if (arguments)
        *arguments++ = 0;
    if (!*path) /* http://host?a=1 */
        path = root;
    h->path_size = strlen(path);
    if (path != root && !head_decode(path, &h->path_size, false))
        return head_malformed(fault, "% in the path is to be followed by two "
                                     "hexadecimal digits; % itself is %25");
    h->path = path;
    return head_arguments(h, arguments, fault);
}

/* ---- The request line ---- */

/* METHOD SP TARGET SP HTTP/1.1 */
static bool head_request_line(struct head *h, char *line, char **ret_target,
                              struct head_fault *fault)
{
    static const char what[] = "the first line is not METHOD TARGET HTTP/1.1";
    char *target = strchr(line, ' ');
    char *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version || target == line || version == target + 1)
        return head_malformed(fault, what);
    *target++ = *version++ = 0;
    for (const char *p = line; *p; p++)
        if (!is_token(*p))
            return head_malformed(fault, what);
    for (const char *p = target; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            return head_malformed(fault, "the target holds a control character");
    if (strncmp(version, "HTTP/", 5) != 0 || !is_digit(version[5]) ||
        version[6] != '.' || !is_digit(version[7]) || version[8])
        return head_malformed(fault, what);
    if (version[5] != '1')
        return head_refuse(fault, 505, "unsupported_version",
                           "this is a server of HTTP/1.1");
    h->method = line;
    h->http_1_0 = version[7] == '0';
    h->keep_alive = !h->http_1_0;
    *ret_target = target;
    return true;
}

/* ---- Fields that frame ---- */

static bool head_length(struct head *h, const char *value, struct head_fault *fault)
{
    uint64_t length = 0;
    size_t n = 0;
    for (; is_digit(value[n]) && n < 19; n++) /* 19 digits fit */
        length = length * 10 + (uint64_t)(value[n] - '0');
    if (n == 0 || value[n])
        return head_malformed(fault, "Content-Length is not a number of bytes");
    if (h->has_length && length != h->length)
        return head_malformed(fault, "there are two Content-Lengths");
    h->has_length = true;
    h->length = length;
    return true;
}

static bool head_transfer(struct head *h, const char *value, struct head_fault *fault)
{
    if (h->chunked || h->http_1_0 || strcasecmp(value, "chunked") != 0)
        return head_malformed(fault, "Transfer-Encoding is to be chunked, once, and of "
                                     "HTTP/1.1");
    h->chunked = true;
    return true;
}

/* RFC 3986, 3.2.2: a name or an address, perhaps [v6], perhaps a port; no user. */
static bool head_host_is_well_formed(const char *host)
{
    const char *p = host;
    if (*p == '[') {
        p += 1 + strspn(p + 1, "0123456789abcdefABCDEF:.");
        if (*p++ != ']')
            return false;
    } else {
        while (is_alpha(*p) || is_digit(*p) || (*p && strchr("-._~!$&'()*+,;=%", *p)))
            p++;
    }
    if (*p == ':')
        p += 1 + strspn(p + 1, "0123456789");
    return *p == 0;
}

size_t head_host_name(const char *host, const char **ret)
{
    bool bracket = *host == '[';
    const char *name = host + bracket;
    size_t size = strcspn(name, bracket ? "]" : ":");
    if (size > 1 && name[size - 1] == '.')
        size--;
    *ret = name;
    return size;
}

/* Of "close, TE" the tokens that matter. */
static void head_connection(struct head *h, const char *value)
{
    for (const char *p = value; *p;) {
        p += strspn(p, ", \t");
        size_t size = strcspn(p, ", \t");
        if (size == 5 && strncasecmp(p, "close", 5) == 0)
            h->keep_alive = false;
        if (size == 10 && strncasecmp(p, "keep-alive", 10) == 0 && h->http_1_0)
            h->keep_alive = true;
        p += size;
    }
}

/* Of fields that hold one value another reader may take the other one. The last field is the new one. */
static bool head_is_one_value(const struct head *h)
{
    static const char *const single[] = {
        "Authorization", "Content-Type",   "Idempotency-Key", "Last-Event-ID",
        "Origin",        "Sec-Fetch-Site", "Weir-Source",     "Weir-Stream"};
    const struct head_pair *p = &h->pair[h->n_pairs - 1];
    size_t k = 0;
    while (k < sizeof(single) / sizeof(*single) &&
           (((p->name[0] ^ single[k][0]) & ~32) != 0 ||
            strcasecmp(p->name, single[k]) != 0))
        k++;
    for (size_t i = 0; k < sizeof(single) / sizeof(*single) && i < h->n_pairs - 1; i++)
        if (strcasecmp(h->pair[i].name, p->name) == 0 &&
            strcmp(h->pair[i].value, p->value) != 0)
            return false;
    return true;
}

static bool head_field(struct head *h, const char *name, const char *value,
                       struct head_fault *fault)
{
    if (strchr("aAcCiIlLoOsSwW", *name) && !head_is_one_value(h))
        return head_malformed(fault, "a header that holds one value is there twice, "
                                     "with two");
    if (!strchr("cCtThHeE", *name))
        return true;
    if (strcasecmp(name, "Content-Length") == 0)
        return head_length(h, value, fault);
    if (strcasecmp(name, "Transfer-Encoding") == 0)
        return head_transfer(h, value, fault);
    if (strcasecmp(name, "Connection") == 0)
        head_connection(h, value);
    if (strcasecmp(name, "Host") == 0) {
        if (h->host)
            return head_malformed(fault, "there are two Hosts");
        h->host = value;
    }
    if (strcasecmp(name, "Expect") == 0) {
        if (strcasecmp(value, "100-continue") != 0)
            return head_refuse(fault, 417, "unsupported_expectation",
                               "of all expectations 100-continue is known");
        h->expects_continue = !h->http_1_0;
    }
    return true;
}

/* name: value. White space before the colon, or a line that begins with it (one that goes on with the line
 * before, as HTTP once allowed), is read differently by different readers. */
static bool head_field_line(struct head *h, char *line, struct head_fault *fault)
{
    char *p = line;
    while (is_token(*p))
        p++;
    if (p == line || *p != ':')
        return head_malformed(fault, *line == ' ' || *line == '\t'
                                         ? "a header line begins with white space"
                                         : "a header line is not NAME: VALUE");
    *p++ = 0;
    char *value = p + strspn(p, " \t"), *end = strchr(value, 0);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = 0;
    for (p = value; *p; p++)
        if (((unsigned char)*p < ' ' && *p != '\t') || *p == 127)
            return head_malformed(fault, "a header holds a control character");
    if (h->n_pairs == HEAD_FIELDS_MAX)
        return head_refuse(fault, 431, "headers_too_large",
                           "there are more than 256 headers");
    return head_add(h, line, value, (size_t)(end - value), fault) &&
           head_field(h, line, value, fault);
}

bool head_parse(struct head *h, char *text, size_t size, struct head_fault *fault)
{
    head_clear(h);
    assert(size >= 2 && memcmp(text + size - 2, "\r\n", 2) == 0); /* head_end */
    if (memchr(text, 0, size))
        return head_malformed(fault, "the head holds a zero");
    char *target = NULL, *line = text, *end = text + size - 2;
    while (line < end) {
        char *cr = strchr(line, '\r');
        if (cr == line || cr[1] != '\n')
            return head_malformed(fault, "the head holds a CR that ends no line");
        *cr = 0;
        if (!(target ? head_field_line(h, line, fault)
                     : head_request_line(h, line, &target, fault)))
            return false;
        line = cr + 2;
    }
    if (!target)
        return head_malformed(fault, "there is no first line");
    h->n_fields = h->n_pairs;
    if (h->chunked && h->has_length)
        return head_malformed(fault, "there are Transfer-Encoding and Content-Length");
    if (!h->host && !h->http_1_0)
        return head_malformed(fault, "there is no Host");
    if (!head_target(h, target, fault))
        return false;
    if (h->host && !head_host_is_well_formed(h->host))
        return head_malformed(fault, "Host is not a name and perhaps a port");
    return true;
}

void head_clear(struct head *h)
{
    if (h->room > HEAD_ROOM_KEPT)
        head_free(h);
    *h = (struct head){.pair = h->pair, .room = h->room};
}

void head_free(struct head *h)
{
    free(h->pair);
    *h = (struct head){0};
}
