/* SPDX-License-Identifier: Apache-2.0 */
#include "http/guard.h"

#include "base/clock.h"
#include "http/internal.h"
#include "http/tls.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define EMPTY_MAX 8u           /* bytes of empty lines before a request */
#define FIRST_MAX (16u << 10)  /* of a request, at its first read */
#define HEADS_MAX (256u << 10) /* of requests in a row that wait for their turn */

/* ---- From descriptors to guards ---- */

/* Blocks of a table by descriptor; made when needed, never freed. A descriptor is watched by one thread at a
 * time, which libmicrohttpd's own hand-over orders; the blocks are published once. */
#define BLOCK  1024
#define BLOCKS 1024

static struct guard *_Atomic *_Atomic table[BLOCKS];           /* release, acquire */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER; /* for making blocks */

struct guard *guard_of(int fd)
{
    if (fd < 0 || fd >= BLOCK * BLOCKS)
        return NULL;
    struct guard *_Atomic *block =
        atomic_load_explicit(&table[fd / BLOCK], memory_order_acquire);
    return block ? atomic_load_explicit(&block[fd % BLOCK], memory_order_acquire)
                 : NULL;
}

int guard_watch(int fd, struct guard *g)
{
    if (fd < 0 || fd >= BLOCK * BLOCKS)
        return -ENOMEM;
    pthread_mutex_lock(&table_lock);
    struct guard *_Atomic *block =
        atomic_load_explicit(&table[fd / BLOCK], memory_order_relaxed);
    if (!block && (block = calloc(BLOCK, sizeof(*block))))
        atomic_store_explicit(&table[fd / BLOCK], block, memory_order_release);
    pthread_mutex_unlock(&table_lock);
    if (!block)
        return -ENOMEM;
    atomic_store_explicit(&block[fd % BLOCK], g, memory_order_release);
    return 0;
}

/* The C library's, or a sanitizer's. */
static ssize_t (*real_recv)(int, void *, size_t, int);

__attribute__((constructor)) static void find_recv(void)
{
    union {
        void *found;
        ssize_t (*call)(int, void *, size_t, int);
    } next = {.found = dlsym(RTLD_NEXT, "recv")};
    real_recv = next.call;
}

/* What libmicrohttpd calls: in the search for symbols a program comes before its libraries. */
__attribute__((visibility("default"))) ssize_t recv(int fd, void *to, size_t room,
                                                    int flags)
{
    struct guard *g = flags & MSG_PEEK ? NULL : guard_of(fd);
    return g && !g->session ? guard_receive(g, to, room)
                            : real_recv(fd, to, room, flags);
}

bool guard_in_force(void)
{
    /* As the library's own search goes: the first recv of the whole program. */
    union {
        void *found;
        ssize_t (*call)(int, void *, size_t, int);
    } first = {.found = dlsym(RTLD_DEFAULT, "recv")};
    return real_recv && first.call == recv;
}

/* ---- Heads ---- */

void guard_init(struct guard *g, int fd)
{
    *g = (struct guard){.fd = fd};
    g->heads.limit = HEADS_MAX + HTTP_HEAD_MAX;
}

void guard_free(struct guard *g)
{
    free(g->input);
    buffer_free(&g->out);
    buffer_free(&g->text);
    buffer_free(&g->heads);
    head_free(&g->head);
}

static size_t kept(const struct guard *g)
{
    return g->end - g->first;
}

static void take(struct guard *g, size_t size)
{
    g->first += size;
    if (g->first == g->end)
        g->first = g->end = 0;
}

struct entry {
    size_t size; /* of the text behind it; 0: a fault */
    struct head_fault fault;
};

static void refuse(struct guard *g, const struct head_fault *f)
{
    struct entry e = {.fault = *f};
    buffer_put(&g->heads, &e, sizeof(e));
    buffer_puts(&g->out,
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    g->in = GUARD_OVER;
    g->first = g->end = 0;
    atomic_fetch_add_explicit(&g->under_way, 1, memory_order_relaxed);
}

/* The plain head that goes on: nothing in it can be refused, cut, or understood in two ways. */
static void pass(struct guard *g, const struct head *h)
{
    bool known = strcmp(h->method, "GET") == 0 || strcmp(h->method, "HEAD") == 0;
    buffer_puts(&g->out, known ? h->method : "POST");
    buffer_puts(&g->out, h->http_1_0 ? " / HTTP/1.0\r\nHost: x\r\n"
                                     : " / HTTP/1.1\r\nHost: x\r\n");
    if (h->chunked)
        buffer_puts(&g->out, "Transfer-Encoding: chunked\r\n");
    else if (h->has_length) {
        buffer_puts(&g->out, "Content-Length: ");
        buffer_put_uint(&g->out, h->length);
        buffer_puts(&g->out, "\r\n");
    } else if (!known)
        buffer_puts(&g->out, "Content-Length: 0\r\n");
    if (h->expects_continue)
        buffer_puts(&g->out, "Expect: 100-continue\r\n");
    if (!h->keep_alive)
        buffer_puts(&g->out, "Connection: close\r\n");
    else if (h->http_1_0)
        buffer_puts(&g->out, "Connection: keep-alive\r\n");
    buffer_puts(&g->out, "\r\n");
    g->in = h->chunked ? GUARD_CHUNKS : h->length ? GUARD_LENGTH : GUARD_HEAD;
    g->left = h->length;
    g->chunks = (struct chunks){0};
    atomic_fetch_add_explicit(&g->under_way, 1, memory_order_relaxed);
}

static void no_head_yet(struct guard *g)
{
    static const struct head_fault large = {431, "headers_too_large",
                                            "the head of the request is too long"},
                                   uri = {414, "uri_too_long",
                                          "the target of the request is too long"},
                                   cut = {400, "malformed",
                                          "the request ends within its head"},
                                   slow = {408, "request_timeout",
                                           "the request did not come to its end"};
    if (kept(g) >= HTTP_HEAD_MAX)
        refuse(g, memchr(g->input + g->first, '\n', HTTP_HEAD_MAX) ? &large : &uri);
    else if (g->ended && kept(g))
        refuse(g, atomic_load_explicit(&g->slow, memory_order_relaxed) ? &slow : &cut);
}

/* The head of the request that comes next: read once. */
static bool read_first(struct guard *g, size_t size, struct head_fault *fault)
{
    buffer_clear(&g->text);
    buffer_put(&g->text, g->input + g->first, size);
    g->heads.error = g->text.error;
    g->is_read = !g->text.error && head_parse(&g->head, g->text.data, size, fault);
    if (g->is_read)
        pass(g, &g->head);
    return g->is_read;
}

/* One behind others that wait: it is checked here, and read again in its turn. */
static bool read_further(struct guard *g, size_t size, struct head_fault *fault)
{
    if (g->heads_taken) {
        g->heads.size -= g->heads_taken;
        memmove(g->heads.data, g->heads.data + g->heads_taken, g->heads.size);
        g->heads_taken = 0;
    }
    struct entry e = {.size = size};
    size_t at = g->heads.size;
    struct head head = {0};
    buffer_put(&g->heads, &e, sizeof(e));
    buffer_put(&g->heads, g->input + g->first, size);
    /* Reading cuts the text into strings: the copy is for guard_next. */
    bool good = head_parse(&head, g->input + g->first, size, fault);
    if (good)
        pass(g, &head);
    else if (!g->heads.error)
        g->heads.size = at;
    head_free(&head);
    return good;
}

/* A head at the front of the input. False: it is not all there. */
static bool read_head(struct guard *g)
{
    static const struct head_fault
        lines = {400, "malformed", "a line of the head does not end in CR LF"},
        many = {431, "too_many_requests_at_once",
                "too many requests were sent before their answers were read"};
    while (kept(g) >= 2 && g->n_empty < EMPTY_MAX &&
           memcmp(g->input + g->first, "\r\n", 2) == 0) {
        take(g, 2); /* behind a body some clients send one (RFC 9112, 2.2) */
        g->n_empty += 2;
        g->scanned = 0; /* the CR may have come alone */
    }
    ssize_t size = kept(g) ? head_end(g->input + g->first, kept(g), &g->scanned) : 0;
    if (size == 0) {
        no_head_yet(g);
        return false;
    }
    g->scanned = g->n_empty = 0;
    if (size < 0) {
        refuse(g, &lines);
        return true;
    }
    if (g->heads.size - g->heads_taken > HEADS_MAX) {
        refuse(g, &many);
        return true;
    }
    struct head_fault fault;
    bool first = !g->is_read && g->heads.size == g->heads_taken;
    if (first ? read_first(g, (size_t)size, &fault)
              : read_further(g, (size_t)size, &fault))
        take(g, (size_t)size);
    else if (!g->heads.error)
        refuse(g, &fault);
    return true;
}

bool guard_next(struct guard *g, struct buffer *text, struct head *head,
                struct head_fault *ret_fault)
{
    struct entry e;
    *ret_fault = (struct head_fault){0};
    if (g->is_read) {
        struct buffer free_text = *text;
        struct head free_head = *head;
        *text = g->text;
        *head = g->head;
        g->text = free_text;
        g->head = free_head;
        g->is_read = false;
        return true;
    }
    if (g->heads.error || g->heads.size - g->heads_taken < sizeof(e))
        return false;
    memcpy(&e, g->heads.data + g->heads_taken, sizeof(e));
    g->heads_taken += sizeof(e);
    buffer_clear(text);
    buffer_put(text, g->heads.data + g->heads_taken, e.size);
    g->heads_taken += e.size;
    if (e.size == 0)
        *ret_fault = e.fault;
    else if (!text->error)
        head_parse(head, text->data, e.size, ret_fault);
    if (g->heads_taken == g->heads.size) {
        buffer_clear(&g->heads);
        g->heads_taken = 0;
    }
    return !text->error;
}

bool guard_is_last(const struct guard *g)
{
    return g->ended && atomic_load_explicit(&g->under_way, memory_order_relaxed) <= 1;
}

/* ---- Bodies ---- */

/* Goes over the chunks at the front of the input; what is data is framed anew. False: more must come. */
static bool read_chunks(struct guard *g)
{
    ssize_t n = kept(g) ? chunks_skip(&g->chunks, g->input + g->first, kept(g)) : 0;
    if (n < 0) {
        g->bad_body = GUARD_BAD_CHUNKS;
        g->in = GUARD_OVER;
        g->first = g->end = 0;
        buffer_puts(&g->out, "1\r\n.\r\n"); /* for a call that can answer */
        return true;
    }
    take(g, (size_t)n);
    if (g->chunks.in == CHUNKS_END) {
        buffer_puts(&g->out, "0\r\n\r\n");
        g->in = GUARD_HEAD;
        return true;
    }
    size_t size = kept(g);
    if (g->chunks.in != CHUNKS_DATA || g->chunks.left == 0 || size == 0)
        return false;
    if (g->chunks.left < size)
        size = (size_t)g->chunks.left;
    buffer_printf(&g->out, "%zx\r\n", size);
    buffer_put(&g->out, g->input + g->first, size);
    buffer_puts(&g->out, "\r\n");
    take(g, size);
    chunks_took(&g->chunks, size);
    return true;
}

/* So many bytes of a body with a length are where they are wanted. */
static void took_body(struct guard *g, size_t size)
{
    g->left -= size;
    if (g->left == 0)
        g->in = GUARD_HEAD;
}

/* There is no input. Idle connections hold no memory. */
static void give_back(struct guard *g)
{
    if (!g->input_lent)
        free(g->input);
    g->input = NULL;
}

/* All of the input that can go on, but for a body with a length. */
static void read_input(struct guard *g)
{
    bool on = true;
    while (on && !g->out.error && !g->heads.error) {
        switch (g->in) {
        case GUARD_HEAD:
            on = read_head(g);
            break;
        case GUARD_LENGTH:
            on = false;
            break;
        case GUARD_CHUNKS:
            on = read_chunks(g);
            break;
        case GUARD_OVER:
            g->first = g->end = 0;
            on = false;
            break;
        }
    }
    if (kept(g) == 0)
        give_back(g);
}

/* ---- Receiving ---- */

static size_t take_out(struct guard *g, char *to, size_t room)
{
    size_t n = g->out.size - g->out_taken;
    if (n > room)
        n = room;
    if (n)
        memcpy(to, g->out.data + g->out_taken, n);
    g->out_taken += n;
    if (g->out_taken == g->out.size) {
        if (g->out.room > 4096)
            buffer_free(&g->out);
        else
            buffer_clear(&g->out);
        g->out_taken = 0;
    }
    return n;
}

/* All that is there, in its order: a body with a length comes straight from the input. */
static size_t hand_out(struct guard *g, char *to, size_t room)
{
    size_t done = take_out(g, to, room);
    while (done < room && g->in == GUARD_LENGTH && kept(g) && !g->out.error &&
           !g->heads.error) {
        size_t n = kept(g) < room - done ? kept(g) : room - done;
        if (g->left < n)
            n = (size_t)g->left;
        memcpy(to + done, g->input + g->first, n);
        done += n;
        take(g, n);
        took_body(g, n);
        read_input(g);
        done += take_out(g, to + done, room - done);
    }
    return done;
}

/* GnuTLS must not see an end that the timer made: it would send nothing more. */
static ssize_t pull(const struct guard *g, void *to, size_t room)
{
    if (g->session && atomic_load_explicit(&g->slow, memory_order_relaxed))
        return 0;
    return g->session ? tls_receive(g->session, to, room)
                      : real_recv(g->fd, to, room, MSG_DONTWAIT);
}

/* One read into the input, which is `room` where there is none, of at most *ret_most bytes. As recv. */
static ssize_t fill(struct guard *g, char *room, size_t *ret_most)
{
    size_t most = HTTP_INPUT_ROOM - kept(g);
    if (g->in == GUARD_HEAD && kept(g) == 0)
        most = FIRST_MAX;
    *ret_most = most;
    if (!g->input) {
        g->input = room;
        g->input_lent = true;
    }
    if (g->first) {
        memmove(g->input, g->input + g->first, kept(g));
        g->end -= g->first;
        g->first = 0;
    }
    ssize_t n = pull(g, g->input + g->end, most);
    if (n > 0) {
        g->end += (size_t)n;
    } else if (kept(g) == 0) {
        int error = errno;
        give_back(g);
        errno = error;
    }
    return n;
}

/* What is left of an input that was lent is kept. */
static bool keep(struct guard *g)
{
    if (!g->input || !g->input_lent)
        return true;
    char *own = malloc(HTTP_INPUT_ROOM);
    if (own)
        memcpy(own, g->input + g->first, kept(g));
    g->end = own ? kept(g) : 0;
    g->first = 0;
    g->input = own;
    g->input_lent = false;
    return own;
}

/* Something has come. */
static void note_time(struct guard *g)
{
    bool head = g->in == GUARD_HEAD && kept(g);
    bool body = g->in == GUARD_LENGTH || g->in == GUARD_CHUNKS;
    if (!head || !g->waits_head)
        atomic_store_explicit(&g->since_us, head || body ? clock_monotonic_us() : 0,
                              memory_order_relaxed);
    g->waits_head = head;
}

/* The end of the input within a body: of a client that is gone, or by the timer's hand; then there is an answer. */
static void end_of_body(struct guard *g)
{
    if ((g->in != GUARD_LENGTH && g->in != GUARD_CHUNKS) ||
        !atomic_load_explicit(&g->slow, memory_order_relaxed))
        return;
    g->bad_body = GUARD_SLOW;
    buffer_puts(&g->out, g->in == GUARD_LENGTH ? "." : "1\r\n.\r\n");
    g->in = GUARD_OVER;
}

/* A request is all there, and nothing behind it. */
static bool is_whole(const struct guard *g)
{
    return g->in == GUARD_HEAD && kept(g) == 0;
}

/* One read of a body, straight to where it is wanted; of what comes behind it into `input`. As recv; *ret_done: how
 * much is of the body, *ret_most: how much could have come. */
static ssize_t fill_body(struct guard *g, char *at, size_t room, char *input,
                         size_t *ret_done, size_t *ret_most)
{
    size_t most = g->left < room ? (size_t)g->left : room;
    bool behind = most == g->left && !g->session;
    struct iovec to[2] = {{at, most}, {input, HTTP_INPUT_ROOM}};
    struct msghdr message = {.msg_iov = to, .msg_iovlen = 2};
    ssize_t n = behind ? recvmsg(g->fd, &message, MSG_DONTWAIT) : pull(g, at, most);
    *ret_most = behind ? most + HTTP_INPUT_ROOM : most;
    *ret_done = n <= 0 ? 0 : (size_t)n < most ? (size_t)n : most;
    took_body(g, *ret_done);
    if (n > (ssize_t)most) {
        g->input = input;
        g->input_lent = true;
        g->end = (size_t)n - most;
        read_input(g);
    }
    return n;
}

/* Only when the socket has no more is less given than there is room for: libmicrohttpd then waits for an
 * edge. An end that comes with the last bytes it would not see without another one; behind a whole request it is
 * not looked for here: the timer finds it. With TLS a short read is one record, and says nothing of the socket. */
static ssize_t receive(struct guard *g, char *at, size_t room, char *input)
{
    size_t done = hand_out(g, at, room);
    bool more = done < room; /* may be in the socket */
    int error = 0;
    ssize_t n = 1;
    while (n > 0 && more) {
        size_t most, body = 0;
        if (g->in == GUARD_LENGTH) {
            n = fill_body(g, at + done, room - done, input, &body, &most);
            error = errno;
        } else {
            n = fill(g, input, &most);
            error = errno;
            g->ended |= n == 0;
            if (n >= 0)
                read_input(g);
        }
        if (n > 0)
            note_time(g);
        else if (n == 0)
            end_of_body(g);
        done += body;
        done += hand_out(g, at + done, room - done);
        if (g->out.error || g->heads.error) {
            errno = ENOMEM;
            return -1;
        }
        more = done < room && (n == (ssize_t)most || !is_whole(g) || g->session);
    }
    if (done && n == 0)
        shutdown(
            g->fd,
            SHUT_RD); /* changes nothing any more, but is an edge for epoll: it asks again */
    if (done)
        return (ssize_t)done;
    bool waits = g->in == GUARD_HEAD &&
                 atomic_load_explicit(&g->under_way, memory_order_relaxed);
    if (n == 0 && !waits)
        return 0;
    errno = n < 0 ? error : EAGAIN;
    return -1;
}

ssize_t guard_receive(struct guard *g, void *to, size_t room)
{
    char input[HTTP_INPUT_ROOM]; /* mostly all that comes goes on at once */
    ssize_t n = receive(g, to, room, input);
    int error = errno;
    bool kept = keep(g);
    errno = kept ? error : ENOMEM;
    return kept ? n : -1;
}
