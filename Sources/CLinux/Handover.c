#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int result(long value) { return value < 0 ? -errno : (int)value; }

/// Room for one message's descriptors, aligned as its header must be.
union descriptor_control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(CLINUX_DESCRIPTORS_PER_MESSAGE * sizeof(int))];
};

long clinux_send_descriptors(
    int socket, const void *bytes, size_t count, const int *descriptors,
    unsigned int descriptor_count) {
    if (descriptor_count > CLINUX_DESCRIPTORS_PER_MESSAGE) return -EINVAL;
    union descriptor_control control = {0};
    struct iovec vector = {.iov_base = (void *)bytes, .iov_len = count};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (descriptor_count > 0) {
        size_t size = descriptor_count * sizeof(int);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(header), descriptors, size);
    }
    ssize_t sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

long clinux_receive_descriptors(
    int socket, void *bytes, size_t count, int *descriptors, unsigned int *descriptor_count) {
    union descriptor_control control;
    struct iovec vector = {.iov_base = bytes, .iov_len = count};
    struct msghdr message = {
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes};
    *descriptor_count = 0;
    ssize_t received = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received < 0) return -errno;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t size = header->cmsg_len - CMSG_LEN(0);
        // One message of the kernel's carries at most one set, which fits the control buffer.
        memcpy(descriptors, CMSG_DATA(header), size);
        *descriptor_count = (unsigned int)(size / sizeof(int));
    }
    if ((message.msg_flags & MSG_CTRUNC) == 0) return received;
    // The process has no room for more open files: some of the set are lost.
    for (unsigned int i = 0; i < *descriptor_count; i++) close(descriptors[i]);
    *descriptor_count = 0;
    return -EMFILE;
}

int clinux_peer_credentials(int socket, int *process, unsigned int *user) {
    struct ucred credentials;
    socklen_t size = sizeof credentials;
    int status = result(getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size));
    if (status != 0) return status;
    *process = credentials.pid;
    *user = credentials.uid;
    return 0;
}

int clinux_sealable_memory_file(size_t size) {
    int descriptor = result(memfd_create("branchline-state", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (descriptor < 0) return descriptor;
    int status = result(ftruncate(descriptor, (off_t)size));
    if (status == 0)
        status = result(fcntl(
            descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
    if (status == 0) return descriptor;
    close(descriptor);
    return status;
}

int clinux_has_fixed_size(int descriptor) {
    int seals = result(fcntl(descriptor, F_GET_SEALS));
    return seals < 0 ? 0 : (seals & F_SEAL_SHRINK) != 0;
}

// Numbers of calls that are the same on all machines and that older headers lack.

int clinux_process_descriptor(int process) { return result(syscall(434, process, 0)); }

int clinux_kill_process(int descriptor, int signal) {
    return result(syscall(424, descriptor, signal, NULL, 0));
}
