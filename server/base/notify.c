/* SPDX-License-Identifier: Apache-2.0 */
#include "base/notify.h"

#include "base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TEXT_MAX 1024

static struct sockaddr_un notify_to;
static socklen_t notify_to_size; /* 0: to nobody */
static int64_t notify_every_us = INT64_MAX;

/* A path, or a name behind '@', which stands for the zero of the abstract ones. */
static void set_address(const char *name)
{
    size_t size = strlen(name);
    if ((*name != '/' && *name != '@') || size >= sizeof(notify_to.sun_path))
        return;
    notify_to.sun_family = AF_UNIX;
    memcpy(notify_to.sun_path, name, size);
    if (*name == '@')
        notify_to.sun_path[0] = 0;
    notify_to_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
}

void notify_setup(void)
{
    const char *name = getenv("NOTIFY_SOCKET"), *every = getenv("WATCHDOG_USEC"),
               *pid = getenv("WATCHDOG_PID");
    if (name)
        set_address(name);
    bool ours = !pid || strtol(pid, NULL, 10) == getpid();
    int64_t us = every && ours ? strtoll(every, NULL, 10) : 0;
    if (us > 1 && notify_to_size)
        notify_every_us = us / 2;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static bool send_lines(int flags, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool send_lines(int flags, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    if (!notify_to_size)
        return true;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t size = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    ssize_t sent; /* one that is lost is like one that nobody reads */
    do
        sent =
            sendto(fd, text, size, MSG_NOSIGNAL | flags,
                   (const struct sockaddr *)(const void *)&notify_to, notify_to_size);
    while (sent < 0 && errno == EINTR);
    close(fd);
    return sent >= 0;
}

void notify_ready(const char *status)
{
    send_lines(0, "READY=1\nSTATUS=%s\n", status);
}

/* MONOTONIC_USEC is for Type=notify-reload. */
void notify_reloading(void)
{
    send_lines(0,
               "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=reading the configuration\n",
               (long long)clock_monotonic_us());
}

void notify_stopping(const char *status)
{
    send_lines(0, "STOPPING=1\nSTATUS=%s\n", status);
}

int64_t notify_alive_every_us(void)
{
    return notify_every_us;
}

void notify_alive(void)
{
    if (notify_every_us != INT64_MAX)
        send_lines(0, "WATCHDOG=1\n");
}

bool notify_state(uint64_t lag, const char *problem)
{
    return send_lines(MSG_DONTWAIT, "X_WEIR_LAG=%llu\nX_WEIR_PROBLEM=%s\n",
                      (unsigned long long)lag, problem);
}
