/// Kernel interfaces that Swift cannot import by itself: variadic calls, functions and types that
/// glibc shows only with _GNU_SOURCE, and constants newer than the oldest supported headers.
#ifndef BRANCHLINE_CLINUX_H
#define BRANCHLINE_CLINUX_H

#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>

// ---- TUN (linux/if_tun.h) ----

enum {
    CLINUX_IFF_TUN = 0x0001,
    CLINUX_IFF_MULTI_QUEUE = 0x0100,
    CLINUX_IFF_NO_PI = 0x1000,
    CLINUX_IFF_VNET_HDR = 0x4000,
    CLINUX_IFF_TUN_EXCL = 0x8000,

    CLINUX_TUN_F_CSUM = 0x01,
    CLINUX_TUN_F_TSO4 = 0x02,
    CLINUX_TUN_F_TSO6 = 0x04,
    CLINUX_TUN_F_TSO_ECN = 0x08,
    CLINUX_TUN_F_USO4 = 0x20,  // Linux 6.2
    CLINUX_TUN_F_USO6 = 0x40,  // Linux 6.2
};

/// TUNSETIFF: attaches `descriptor` to the device `name`. Returns 0 or -errno; on success `name`
/// (IFNAMSIZ bytes) holds the name that the kernel chose.
int clinux_tun_attach(int descriptor, char *name, unsigned int flags);
/// TUNGETDEVNETNS (Linux 5.2): a descriptor of the device's network namespace, or -errno.
int clinux_tun_network_namespace(int descriptor);

/// TUNGETIFF: the name (IFNAMSIZ bytes) and flags of an attached descriptor. Returns 0 or -errno.
int clinux_tun_describe(int descriptor, char *name, unsigned int *flags);
/// TUNGETFEATURES, TUNSETOFFLOAD, TUNSETVNETHDRSZ.
int clinux_tun_features(int descriptor, unsigned int *features);
int clinux_tun_set_offload(int descriptor, unsigned int offloads);
int clinux_tun_set_header_size(int descriptor, int size);

/// A prefix of IPv6 addresses, IPv4 ones as ::ffff:0:0/96; BPF_MAP_TYPE_LPM_TRIE's key.
struct clinux_steering_key {
    uint32_t length;
    uint8_t address[16];
};

/// bpf(BPF_MAP_CREATE): a table from prefixes to queues. Returns a descriptor or -errno; EPERM
/// without CAP_BPF (CAP_SYS_ADMIN before Linux 5.8).
int clinux_steering_table(unsigned int capacity);
/// bpf(BPF_MAP_UPDATE_ELEM), bpf(BPF_MAP_DELETE_ELEM). Return 0 or -errno.
int clinux_steering_set(int table, const struct clinux_steering_key *key, uint32_t queue);
int clinux_steering_remove(int table, const struct clinux_steering_key *key);
/// bpf(BPF_PROG_LOAD), TUNSETSTEERINGEBPF: from now on a packet's destination names its queue; 0 if
/// no prefix of the table contains it. Returns 0 or -errno.
int clinux_tun_steer(int descriptor, int table);

// ---- Sockets ----

enum {
    // glibc has these in headers that no Swift module owns for sure.
    CLINUX_SOCK_STREAM = 1,
    CLINUX_SOCK_DGRAM = 2,
    CLINUX_SOCK_NONBLOCK = 04000,
    CLINUX_SOCK_CLOEXEC = 02000000,
    CLINUX_MSG_TRUNC = 0x20,
    CLINUX_MSG_DONTWAIT = 0x40,
    CLINUX_MSG_NOSIGNAL = 0x4000,

    CLINUX_SOL_UDP = 17,
    CLINUX_UDP_SEGMENT = 103,  // Linux 4.18
    CLINUX_UDP_GRO = 104,      // Linux 5.0
    CLINUX_SO_REUSEPORT = 15,
    CLINUX_SO_BINDTODEVICE = 25,
    CLINUX_SO_MARK = 36,
    CLINUX_SO_MEMINFO = 55,
    CLINUX_SO_SNDBUFFORCE = 32,
    CLINUX_SO_RCVBUFFORCE = 33,
    CLINUX_SO_TIMESTAMPNS = 35,
    CLINUX_SK_MEMINFO_RMEM_ALLOC = 0,
    CLINUX_SK_MEMINFO_DROPS = 8,
};

/// The layout of glibc's `struct mmsghdr`.
struct clinux_message {
    struct msghdr header;
    unsigned int count;
};

/// Each returns a count, or -errno.
int clinux_recvmmsg(int descriptor, struct clinux_message *messages, unsigned int count);
int clinux_sendmmsg(int descriptor, struct clinux_message *messages, unsigned int count);
long clinux_sendmsg(int descriptor, const struct msghdr *message);
int clinux_accept(int descriptor);

/// One instruction of a classic BPF program; the layout of `struct sock_filter`.
struct clinux_filter {
    uint16_t code;
    uint8_t when_true;
    uint8_t when_false;
    uint32_t operand;
};

/// SO_ATTACH_REUSEPORT_CBPF. Returns 0 or -errno.
int clinux_attach_reuseport_filter(
    int descriptor, const struct clinux_filter *program, unsigned short count);

// ---- Handover to another process ----

enum {
    /// SCM_MAX_FD of the kernel.
    CLINUX_DESCRIPTORS_PER_MESSAGE = 253,
};

/// sendmsg with SCM_RIGHTS. Returns the bytes sent, or -errno.
long clinux_send_descriptors(
    int socket, const void *bytes, size_t count, const int *descriptors,
    unsigned int descriptor_count);
/// recvmsg with SCM_RIGHTS; `descriptors` has room for CLINUX_DESCRIPTORS_PER_MESSAGE. Returns the
/// bytes received, 0 at the end, or -errno: EMFILE, with all of the set closed, if the process may
/// not open so many files.
long clinux_receive_descriptors(
    int socket, void *bytes, size_t count, int *descriptors, unsigned int *descriptor_count);
/// SO_PEERCRED: who connected, or who listened. Returns 0 or -errno.
int clinux_peer_credentials(int socket, int *process, unsigned int *user);
/// memfd_create, F_ADD_SEALS: memory of a size that never changes. A descriptor or -errno.
int clinux_sealable_memory_file(size_t size);
/// F_GET_SEALS: whether the memory behind it cannot become less.
int clinux_has_fixed_size(int descriptor);
/// pidfd_open (Linux 5.3): a descriptor that becomes readable when the process ends, or -errno.
int clinux_process_descriptor(int process);
/// pidfd_send_signal. Returns 0 or -errno.
int clinux_kill_process(int descriptor, int signal);

// ---- Events, time, threads ----

int clinux_eventfd(void);
/// Blocks `signals` in the calling thread and returns a signalfd for them, or -errno.
int clinux_signalfd(const int *signals, unsigned int count);
/// The next pending signal of a signalfd, 0 when there is none, or -errno.
int clinux_signalfd_next(int descriptor);
/// epoll_pwait2, or epoll_wait in whole milliseconds (rounded up) where the kernel is older than
/// 5.11 or a sandbox refuses the newer call. A negative timeout waits for ever. Returns a count or
/// -errno.
int clinux_epoll_wait(
    int descriptor, struct epoll_event *events, int capacity, int64_t timeout_nanoseconds);

int clinux_thread_identifier(void);
int clinux_set_thread_name(const char *name);
/// setpriority for one thread. Returns 0 or -errno.
int clinux_set_niceness(int thread, int niceness);
/// sched_setattr(SCHED_OTHER) with a time slice (Linux 6.12), keeping the niceness. 0 or -errno.
int clinux_set_slice(int thread, int niceness, uint64_t slice_nanoseconds);
/// sched_getattr's sched_runtime: the slice, 0 where the kernel has none. 0 or -errno.
int clinux_slice(int thread, uint64_t *slice_nanoseconds);
/// sched_getaffinity: numbers of the processors that the calling thread may run on, ascending.
/// Returns how many there are, at most `capacity`, or -errno.
int clinux_allowed_processors(int *processors, int capacity);
/// sched_setaffinity: keeps the calling thread on one processor. 0 or -errno.
int clinux_run_on(int processor);

// ---- Namespaces ----

/// setns with CLONE_NEWNET, for the calling thread. Returns 0 or -errno.
int clinux_enter_network_namespace(int descriptor);
/// unshare(CLONE_NEWNET), for the calling thread. Returns 0 or -errno.
int clinux_enter_new_network_namespace(void);
/// fstatfs, NS_GET_NSTYPE: 1 if the open file stands for a network namespace, 0 if not, or -errno.
int clinux_is_network_namespace(int descriptor);
/// SO_NETNS_COOKIE (Linux 5.14): a number of the calling thread's namespace that no other gets.
/// Returns 0 or -errno.
int clinux_network_namespace_cookie(uint64_t *cookie);
/// mount(MS_SHARED): what is mounted below `path` from now on is seen in every mount namespace that
/// has it; makes it a mount point first. Returns 0 or -errno.
int clinux_share_mount(const char *path);
/// mount(MS_BIND), umount2(MNT_DETACH). Return 0 or -errno.
int clinux_bind_mount(const char *source, const char *target);
int clinux_unmount(const char *path);

// ---- System log (syslog.h) ----

/// openlog with LOG_PID and LOG_DAEMON; at most 31 bytes of the name count.
void clinux_open_log(const char *program);
/// syslog. The severity is one of LOG_EMERG (0) to LOG_DEBUG (7).
void clinux_log(int severity, const char *message);

// ---- Files ----

/// memfd_create: a file that is in memory only. A descriptor or -errno.
int clinux_memory_file(void);
/// setrlimit(RLIMIT_NOFILE): as many open files as the process may have. Returns how many these
/// are, or -errno.
int clinux_raise_descriptor_limit(void);

#endif
