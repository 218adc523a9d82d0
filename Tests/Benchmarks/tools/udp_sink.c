// Counts the datagrams of one trial until SIGTERM.
//
//     udp_sink PORT RUN [--no-gro]
//
// Receives with recvmmsg and, unless told not to, UDP_GRO: runs of equal datagrams that arrive as
// one are taken as one, as a modern receiver does. Prints "ready" once bound and one JSON object at
// the end: distinct datagrams, duplicates, late ones (a higher number came before), and those that
// the kernel dropped because this program was slow (part of the loss).

#define _GNU_SOURCE
#include "datagram.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <signal.h>
#include <sys/socket.h>

enum { BATCH = 16, BUFFER_BYTES = 65536, RECEIVE_QUEUE_BYTES = 4 << 20 };
static const uint64_t SEQUENCE_MAX = 1u << 28;

static uint8_t buffers[BATCH][BUFFER_BYTES];
static uint8_t controls[BATCH][CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint32_t))];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];
static volatile sig_atomic_t stopped;

static uint8_t *seen;  // One bit a sequence number.
static uint64_t received, duplicates, reordered, highest, overflow;

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

static void count_datagram(const uint8_t *bytes, size_t size, uint64_t run) {
    struct datagram_head head;
    if (size < sizeof head) return;
    memcpy(&head, bytes, sizeof head);
    if (head.run != run || head.sequence >= SEQUENCE_MAX) return;
    uint8_t bit = (uint8_t)(1u << (head.sequence & 7));
    if (seen[head.sequence >> 3] & bit) {
        duplicates++;
        return;
    }
    seen[head.sequence >> 3] |= bit;
    received++;
    if (head.sequence < highest) reordered++;
    else highest = head.sequence;
}

static void count_message(struct mmsghdr *message, const uint8_t *bytes, uint64_t run) {
    size_t size = message->msg_len, segment = size;
    struct msghdr *header = &message->msg_hdr;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int value;
            memcpy(&value, CMSG_DATA(c), sizeof value);
            if (value > 0) segment = (size_t)value;
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
            uint32_t value;
            memcpy(&value, CMSG_DATA(c), sizeof value);
            overflow = value;
        }
    }
    for (size_t at = 0; at < size; at += segment)
        count_datagram(bytes + at, size - at < segment ? size - at : segment, run);
}

static int open_socket(int port, int coalesce) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_usec = 50000};
    int on = 1, queue = RECEIVE_QUEUE_BYTES;
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) fail("socket");
    if (setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &queue, sizeof queue))
        fail("SO_RCVBUFFORCE");
    setsockopt(descriptor, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (coalesce && setsockopt(descriptor, SOL_UDP, UDP_GRO, &on, sizeof on)) fail("UDP_GRO");
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address)) fail("bind");
    return descriptor;
}

int main(int count, char **arguments) {
    if (count != 3 && !(count == 4 && !strcmp(arguments[3], "--no-gro"))) {
        fprintf(stderr, "usage: udp_sink PORT RUN [--no-gro]\n");
        return 2;
    }
    uint64_t run = strtoull(arguments[2], NULL, 10);
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    seen = calloc(1, SEQUENCE_MAX / 8);
    if (!seen) fail("calloc");
    int descriptor = open_socket(atoi(arguments[1]), count == 3);
    printf("ready\n");
    fflush(stdout);

    while (!stopped) {
        for (int i = 0; i < BATCH; i++) {
            vectors[i] = (struct iovec){buffers[i], BUFFER_BYTES};
            messages[i].msg_hdr = (struct msghdr){
                .msg_iov = &vectors[i], .msg_iovlen = 1,
                .msg_control = controls[i], .msg_controllen = sizeof controls[i]};
        }
        int got = recvmmsg(descriptor, messages, BATCH, MSG_WAITFORONE, NULL);
        if (got < 0 && errno != EAGAIN && errno != EINTR) fail("recvmmsg");
        for (int i = 0; i < got; i++) count_message(&messages[i], buffers[i], run);
    }
    printf("{\"received\": %llu, \"duplicates\": %llu, \"reordered\": %llu, \"overflow\": %llu}\n",
           (unsigned long long)received, (unsigned long long)duplicates,
           (unsigned long long)reordered, (unsigned long long)overflow);
    return 0;
}
