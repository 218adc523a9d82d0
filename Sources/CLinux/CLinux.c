#define _GNU_SOURCE
#include "CLinux.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <syslog.h>
#include <unistd.h>

static_assert(sizeof(struct clinux_message) == sizeof(struct mmsghdr), "mmsghdr differs");
static_assert(
    offsetof(struct clinux_message, count) == offsetof(struct mmsghdr, msg_len), "mmsghdr differs");
static_assert(CLINUX_SOCK_STREAM == SOCK_STREAM && CLINUX_SOCK_DGRAM == SOCK_DGRAM, "types differ");
static_assert(
    CLINUX_SOCK_NONBLOCK == SOCK_NONBLOCK && CLINUX_SOCK_CLOEXEC == SOCK_CLOEXEC, "flags differ");
static_assert(
    CLINUX_MSG_TRUNC == MSG_TRUNC && CLINUX_MSG_DONTWAIT == MSG_DONTWAIT
        && CLINUX_MSG_NOSIGNAL == MSG_NOSIGNAL, "flags differ");
static_assert(sizeof(struct clinux_filter) == sizeof(struct sock_filter), "sock_filter differs");

static int result(long value) { return value < 0 ? -errno : (int)value; }

// ---- TUN ----

int clinux_tun_attach(int descriptor, char *name, unsigned int flags) {
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    request.ifr_flags = (short)flags;
    int status = result(ioctl(descriptor, TUNSETIFF, &request));
    if (status == 0) memcpy(name, request.ifr_name, IFNAMSIZ);
    return status;
}

int clinux_tun_describe(int descriptor, char *name, unsigned int *flags) {
    struct ifreq request = {0};
    int status = result(ioctl(descriptor, TUNGETIFF, &request));
    if (status != 0) return status;
    memcpy(name, request.ifr_name, IFNAMSIZ);
    *flags = (unsigned short)request.ifr_flags;
    return 0;
}

int clinux_tun_network_namespace(int descriptor) {
    // _IO('T', 227), which Debian 12's headers lack.
    return result(ioctl(descriptor, _IO('T', 227)));
}

int clinux_tun_features(int descriptor, unsigned int *features) {
    return result(ioctl(descriptor, TUNGETFEATURES, features));
}

int clinux_tun_set_offload(int descriptor, unsigned int offloads) {
    return result(ioctl(descriptor, TUNSETOFFLOAD, (unsigned long)offloads));
}

int clinux_tun_set_header_size(int descriptor, int size) {
    return result(ioctl(descriptor, TUNSETVNETHDRSZ, &size));
}

// ---- Sockets ----

int clinux_recvmmsg(int descriptor, struct clinux_message *messages, unsigned int count) {
    return result(recvmmsg(descriptor, (struct mmsghdr *)messages, count, MSG_DONTWAIT, NULL));
}

int clinux_sendmmsg(int descriptor, struct clinux_message *messages, unsigned int count) {
    return result(sendmmsg(
        descriptor, (struct mmsghdr *)messages, count, MSG_DONTWAIT | MSG_NOSIGNAL));
}

long clinux_sendmsg(int descriptor, const struct msghdr *message) {
    ssize_t sent = sendmsg(descriptor, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

int clinux_accept(int descriptor) {
    return result(accept4(descriptor, NULL, NULL, SOCK_CLOEXEC));
}

int clinux_attach_reuseport_filter(
    int descriptor, const struct clinux_filter *program, unsigned short count) {
    struct sock_fprog attached = {.len = count, .filter = (struct sock_filter *)program};
    return result(setsockopt(
        descriptor, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &attached, sizeof attached));
}

// ---- Events ----

int clinux_eventfd(void) { return result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

int clinux_signalfd(const int *signals, unsigned int count) {
    sigset_t set;
    sigemptyset(&set);
    for (unsigned int i = 0; i < count; i++)
        if (sigaddset(&set, signals[i]) != 0) return -errno;
    int status = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (status != 0) return -status;
    return result(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

int clinux_signalfd_next(int descriptor) {
    struct signalfd_siginfo information;
    ssize_t count = read(descriptor, &information, sizeof information);
    if (count < 0) return errno == EAGAIN ? 0 : -errno;
    return count == sizeof information ? (int)information.ssi_signo : 0;
}

int clinux_epoll_wait(
    int descriptor, struct epoll_event *events, int capacity, int64_t timeout_nanoseconds) {
    static _Atomic int lacks_pwait2;
    if (!lacks_pwait2) {
        struct timespec timeout = {
            .tv_sec = timeout_nanoseconds / 1000000000,
            .tv_nsec = timeout_nanoseconds % 1000000000};
        int count = result(epoll_pwait2(
            descriptor, events, capacity, timeout_nanoseconds < 0 ? NULL : &timeout, NULL));
        // A sandbox may refuse calls that it does not know, with whatever error it likes: EPERM
        // from older container runtimes. A fault of the arguments comes back from the other call.
        if (count >= 0 || count == -EINTR) return count;
        lacks_pwait2 = 1;
    }
    int64_t milliseconds = -1;
    if (timeout_nanoseconds >= 0) {
        milliseconds = timeout_nanoseconds / 1000000 + (timeout_nanoseconds % 1000000 != 0);
        if (milliseconds > INT32_MAX) milliseconds = INT32_MAX;
    }
    return result(epoll_wait(descriptor, events, capacity, (int)milliseconds));
}

// ---- Threads ----

int clinux_thread_identifier(void) { return (int)syscall(SYS_gettid); }

int clinux_set_thread_name(const char *name) { return -pthread_setname_np(pthread_self(), name); }

int clinux_set_niceness(int thread, int niceness) {
    return result(setpriority(PRIO_PROCESS, (id_t)thread, niceness));
}

/// The first version of the kernel's `struct sched_attr`, which glibc 2.36 does not declare.
struct scheduling {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t niceness;
    uint32_t priority;
    uint64_t runtime;
    uint64_t deadline;
    uint64_t period;
};
static_assert(sizeof(struct scheduling) == 48, "SCHED_ATTR_SIZE_VER0");

int clinux_set_slice(int thread, int niceness, uint64_t slice_nanoseconds) {
    struct scheduling wanted = {
        .size = sizeof wanted,
        .policy = SCHED_OTHER,
        .niceness = niceness,
        .runtime = slice_nanoseconds};
    return result(syscall(SYS_sched_setattr, thread, &wanted, 0));
}

int clinux_slice(int thread, uint64_t *slice_nanoseconds) {
    struct scheduling current = {.size = sizeof current};
    int status =
        result(syscall(SYS_sched_getattr, thread, &current, (unsigned int)sizeof current, 0));
    if (status == 0) *slice_nanoseconds = current.runtime;
    return status;
}

int clinux_allowed_processors(int *processors, int capacity) {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return -errno;
    int count = 0;
    for (int processor = 0; processor < CPU_SETSIZE && count < capacity; processor++)
        if (CPU_ISSET(processor, &allowed)) processors[count++] = processor;
    return count;
}

int clinux_run_on(int processor) {
    cpu_set_t wanted;
    CPU_ZERO(&wanted);
    CPU_SET(processor, &wanted);
    return result(sched_setaffinity(0, sizeof wanted, &wanted));
}

// ---- Namespaces ----

int clinux_enter_network_namespace(int descriptor) {
    return result(setns(descriptor, CLONE_NEWNET));
}

int clinux_enter_new_network_namespace(void) { return result(unshare(CLONE_NEWNET)); }

int clinux_is_network_namespace(int descriptor) {
    struct statfs system;
    if (fstatfs(descriptor, &system) < 0) return -errno;
    if (system.f_type != NSFS_MAGIC) return 0;
    return ioctl(descriptor, NS_GET_NSTYPE) == CLONE_NEWNET;
}

int clinux_network_namespace_cookie(uint64_t *cookie) {
    int made = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (made < 0) return -errno;
    socklen_t size = sizeof *cookie;
    // SO_NETNS_COOKIE, which Debian 11's headers lack.
    int status = result(getsockopt(made, SOL_SOCKET, 71, cookie, &size));
    close(made);
    return status;
}

int clinux_share_mount(const char *path) {
    int status = result(mount("", path, "none", MS_SHARED | MS_REC, NULL));
    if (status != -EINVAL) return status;
    // It is no mount point yet.
    status = result(mount(path, path, "none", MS_BIND | MS_REC, NULL));
    if (status != 0) return status;
    return result(mount("", path, "none", MS_SHARED | MS_REC, NULL));
}

int clinux_bind_mount(const char *source, const char *target) {
    return result(mount(source, target, "none", MS_BIND, NULL));
}

int clinux_unmount(const char *path) {
    return result(umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW));
}

// ---- System log ----

void clinux_open_log(const char *program) {
    // openlog keeps the pointer.
    static char name[32];
    strncpy(name, program, sizeof name - 1);
    openlog(name, LOG_PID, LOG_DAEMON);
}

void clinux_log(int severity, const char *message) { syslog(severity, "%s", message); }

// ---- Files ----

int clinux_memory_file(void) { return result(memfd_create("branchline", MFD_CLOEXEC)); }

int clinux_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    return limit.rlim_cur > INT_MAX ? INT_MAX : (int)limit.rlim_cur;
}
