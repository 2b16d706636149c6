/* SPDX-License-Identifier: Apache-2.0
 *
 * The filter is a list of what is refused, as a plugin may need anything else: Python does. It is written out here, and not
 * with libseccomp, because a list of numbers needs no library, and what a process may do must not depend on how weir was
 * built.
 */
#include "apart/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHADOW 1 /* a sanitizer maps terabytes */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SHADOW 1
#endif
#endif
#ifndef SHADOW
#define SHADOW 0
#endif

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOW_HALF 0
#else
#define LOW_HALF 4
#endif
#define X32_BIT 0x40000000u /* calls of another ABI of the same machine */

int limits_begin(int files)
{
    static const struct rlimit no_core;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "weir-analyzer");
    syscall(SYS_close_range, files + 1, ~0u, 0);
    /* What stops the server as a whole is the server's to obey, which ends this process when it is done. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (setrlimit(RLIMIT_CORE, &no_core))
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* ---- Memory ------------------------------------------------------------------------------------ */

/* What counts for RLIMIT_DATA: VmData of this process, in bytes. */
static uint64_t data_now(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*u %*u %*u %*u %*u %lu", &pages) != 1)
        pages = 0;
    fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Private memory that can be written. The arena, which is address space only, does not count. */
static int limit_memory(uint64_t memory)
{
    struct rlimit limit;
    if (SHADOW)
        return 0;
    if (getrlimit(RLIMIT_DATA, &limit))
        return -1;
    rlim_t most = data_now() + memory;
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < most)
        most = limit.rlim_max;
    limit.rlim_cur = limit.rlim_max = most;
    return setrlimit(RLIMIT_DATA, &limit);
}

/* ---- Calls ------------------------------------------------------------------------------------- */

#ifdef FILTER_ARCH

/* The network; processes, their memory and signals; names and sizes of files; ways around a filter; limits. */
static const int refused[] = {
    SYS_socket,
    SYS_socketpair,
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept,
    SYS_accept4,
    SYS_sendto,
    SYS_sendmsg,
    SYS_sendmmsg,
    SYS_execve,
    SYS_execveat,
    SYS_kill,
    SYS_tkill,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_linkat,
    SYS_symlinkat,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_truncate,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_utimensat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_mount,
    SYS_umount2,
    SYS_chroot,
    SYS_pivot_root,
    SYS_setns,
    SYS_unshare,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_shmget,
    SYS_msgget,
    SYS_mq_open,
    SYS_setrlimit,
    SYS_setpriority,
    SYS_ioprio_set,
    SYS_sched_setscheduler,
    SYS_sched_setparam,
    SYS_sched_setattr,
    SYS_sched_setaffinity,
    SYS_sethostname,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_reboot,
    SYS_quotactl,
    SYS_swapon,
    SYS_init_module,
    SYS_finit_module,
    SYS_kexec_load,
    SYS_setuid,
    SYS_setgid,
#ifdef SYS_fork /* older calls, that newer machines do without */
    SYS_fork,
    SYS_vfork,
    SYS_creat,
    SYS_unlink,
    SYS_rename,
    SYS_link,
    SYS_symlink,
    SYS_mkdir,
    SYS_rmdir,
    SYS_mknod,
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_utime,
    SYS_utimes,
    SYS_futimesat,
#endif
#ifdef SYS_pidfd_send_signal
    SYS_pidfd_send_signal,
#endif
#ifdef SYS_pidfd_getfd
    SYS_pidfd_getfd,
#endif
#ifdef SYS_process_madvise
    SYS_process_madvise,
#endif
};
/* Not there, as on an older kernel: what they are asked for stands in memory, where a filter cannot look. */
static const int missing[] = {
#ifdef SYS_clone3
    SYS_clone3,
#endif
#ifdef SYS_openat2
    SYS_openat2,
#endif
#ifdef SYS_io_uring_setup
    SYS_io_uring_setup,
#endif
    SYS_name_to_handle_at,
    SYS_open_by_handle_at,
};

#define N_REFUSED (sizeof(refused) / sizeof(refused[0]))
#define N_MISSING (sizeof(missing) / sizeof(missing[0]))
#define REFUSE    (SECCOMP_RET_ERRNO | EPERM)
#define LOAD(member)                                                                   \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define LOAD_ARGUMENT(k)                                                               \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS,                                                 \
             (uint32_t)(offsetof(struct seccomp_data, args[k]) + LOW_HALF))
#define WRITES (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND)

struct filter_program {
    struct sock_filter step[4 * (N_REFUSED + N_MISSING) + 64];
    unsigned short n;
};

static void add(struct filter_program *p, struct sock_filter step)
{
    p->step[p->n++] = step;
}

/* The call of this number gives `result`. The number is in the accumulator, before and after. */
static void answer(struct filter_program *p, int call, uint32_t result)
{
    add(p,
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, result));
}

/* The call is refused if some of the bits are set in argument k, or (`all` false) if none are. */
static void refuse_bits(struct filter_program *p, int call, unsigned k, uint32_t bits,
                        bool set)
{
    add(p,
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 4));
    add(p, (struct sock_filter)LOAD_ARGUMENT(k));
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, set ? 0 : 1,
                                        set ? 1 : 0));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, REFUSE));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

/* The call is refused unless argument k is `value`. */
static void refuse_other(struct filter_program *p, int call, unsigned k, uint32_t value)
{
    add(p,
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 4));
    add(p, (struct sock_filter)LOAD_ARGUMENT(k));
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, REFUSE));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

/* The call is refused if argument k is one of n values. */
static void refuse_values(struct filter_program *p, int call, unsigned k,
                          const uint32_t *value, unsigned char n)
{
    add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0,
                                        (unsigned char)(n + 3)));
    add(p, (struct sock_filter)LOAD_ARGUMENT(k));
    for (unsigned char i = 0; i < n; i++)
        add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value[i],
                                            (unsigned char)(n - i), 0));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, REFUSE));
}

static int limit_calls(void)
{
    /* The kernel sends these signals for it, also to others. */
    static const uint32_t owns[] = {F_SETOWN, F_SETOWN_EX, F_SETSIG},
                          ioctls[] = {FIOSETOWN, SIOCSPGRP};
    struct filter_program p = {.n = 0};
    add(&p, (struct sock_filter)LOAD(arch));
    add(&p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0));
    add(&p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, REFUSE));
    add(&p, (struct sock_filter)LOAD(nr));
#ifdef __x86_64__
    add(&p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1));
    add(&p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, REFUSE));
    refuse_bits(&p, SYS_open, 1, WRITES, true);
#endif
    refuse_bits(&p, SYS_openat, 2, WRITES, true);
    refuse_bits(&p, SYS_clone, 0, CLONE_THREAD, false);  /* threads it may have */
    refuse_other(&p, SYS_tgkill, 0, (uint32_t)getpid()); /* abort() */
    refuse_other(&p, SYS_prlimit64, 2, 0);               /* to read them */
    refuse_values(&p, SYS_fcntl, 1, owns, 3);
    refuse_values(&p, SYS_ioctl, 1, ioctls, 2);
    for (size_t i = 0; i < N_REFUSED; i++)
        answer(&p, refused[i], REFUSE);
    for (size_t i = 0; i < N_MISSING; i++)
        answer(&p, missing[i], SECCOMP_RET_ERRNO | ENOSYS);
    add(&p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    const struct sock_fprog program = {.len = p.n, .filter = p.step};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
                        &program);
}

#else
static int limit_calls(void)
{
    errno = ENOTSUP; /* the numbers of this machine's calls are not known here */
    return -1;
}
#endif

int limits_close(uint64_t memory)
{
    int r = limit_memory(memory);
    return r == 0 ? limit_calls() : r;
}
