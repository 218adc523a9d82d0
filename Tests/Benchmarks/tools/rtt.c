// Measures round-trip times of small packets sent at fixed times, whatever has come back by then.
//
//     rtt ADDRESS INTERVAL_MICROSECONDS COUNT WARM_UP_COUNT [UDP_PORT]
//     rtt echo UDP_PORT [NAMESPACE...]
//
// Without UDP_PORT it sends ICMP echo requests, which the far kernel answers: no program there has
// to wake up. Arrival is the kernel's receive time (SO_TIMESTAMPNS), as ping does it, so neither
// does this program's own wake-up count. With UDP_PORT it talks to `rtt echo`, which must wake up.
// Prints one JSON object; a request unanswered after a second is lost and is in no percentile.

#define _GNU_SOURCE
#include "datagram.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COUNT_MAX = 1 << 20, PAYLOAD_BYTES = 56 };
static const uint64_t PATIENCE_NANOSECONDS = 1000000000u;

struct probe {
    struct icmphdr icmp;  // Absent in UDP mode.
    struct datagram_head head;
    uint8_t padding[PAYLOAD_BYTES - sizeof(struct datagram_head)];
};

static uint64_t *sent_at, *round_trips;  // Real-time nanoseconds; 0: none.
static uint64_t run;
static int uses_udp;

static uint16_t internet_checksum(const void *bytes, size_t count) {
    const uint16_t *words = bytes;
    uint32_t sum = 0;
    for (size_t i = 0; i < count / 2; i++) sum += words[i];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static int open_echo(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) fail("socket");
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address)) fail("bind");
    return descriptor;
}

// A socket belongs to the namespace that it was made in, wherever its process goes afterwards.
static void enter_namespace(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", name);
    int namespace = open(path, O_RDONLY | O_CLOEXEC);
    if (namespace < 0 || setns(namespace, CLONE_NEWNET)) fail(path);
    close(namespace);
}

static void echo_all(int descriptor) {
    for (uint8_t bytes[2048];;) {
        struct sockaddr_in from;
        socklen_t size = sizeof from;
        ssize_t got = recvfrom(descriptor, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &size);
        if (got < 0) return;
        sendto(descriptor, bytes, (size_t)got, 0, (struct sockaddr *)&from, size);
    }
}

// In the namespaces named, or in this one.
static _Noreturn void echo(int port, int count, char **namespaces) {
    int loop = epoll_create1(EPOLL_CLOEXEC);
    if (loop < 0) fail("epoll_create1");
    for (int i = 0; i < count || i == 0; i++) {
        if (count) enter_namespace(namespaces[i]);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = open_echo(port)};
        if (epoll_ctl(loop, EPOLL_CTL_ADD, event.data.fd, &event)) fail("epoll_ctl");
    }
    printf("ready\n");
    fflush(stdout);
    for (struct epoll_event events[64];;) {
        int ready = epoll_wait(loop, events, 64, -1);
        for (int i = 0; i < ready; i++) echo_all(events[i].data.fd);
    }
}

static int open_socket(const char *host, int port) {
    struct sockaddr_in address = ipv4_address(host, port);
    int on = 1;
    int descriptor = uses_udp ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)
                              : socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    if (descriptor < 0) fail("socket");
    if (setsockopt(descriptor, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on)) fail("SO_TIMESTAMPNS");
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address)) fail("connect");
    return descriptor;
}

static void send_probe(int descriptor, uint64_t sequence) {
    struct probe probe = {
        .icmp = {.type = ICMP_ECHO, .un.echo = {(uint16_t)run, htons((uint16_t)sequence)}},
        .head = {run, sequence},
    };
    probe.icmp.checksum = internet_checksum(&probe, sizeof probe);
    sent_at[sequence] = clock_nanoseconds(CLOCK_REALTIME);
    if (uses_udp) send(descriptor, &probe.head, sizeof probe - sizeof probe.icmp, 0);
    else send(descriptor, &probe, sizeof probe, 0);
}

// Returns whether a message was there.
static int take_reply(int descriptor, uint64_t count) {
    uint8_t bytes[2048], control[CMSG_SPACE(sizeof(struct timespec))];
    struct iovec vector = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(descriptor, &message, MSG_DONTWAIT);
    if (got < 0) return 0;
    size_t at = 0;
    if (!uses_udp) {
        at = (size_t)(bytes[0] & 15) * 4;
        if (at + sizeof(struct icmphdr) > (size_t)got || bytes[at] != ICMP_ECHOREPLY) return 1;
        at += sizeof(struct icmphdr);
    }
    struct datagram_head head;
    if (at + sizeof head > (size_t)got) return 1;
    memcpy(&head, bytes + at, sizeof head);
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (head.run != run || head.sequence >= count || round_trips[head.sequence] || !c) return 1;
    struct timespec arrival;
    memcpy(&arrival, CMSG_DATA(c), sizeof arrival);
    uint64_t at_ns = (uint64_t)arrival.tv_sec * 1000000000u + (uint64_t)arrival.tv_nsec;
    uint64_t from_ns = sent_at[head.sequence];
    round_trips[head.sequence] = at_ns > from_ns ? at_ns - from_ns : 1;
    return 1;
}

static void take_replies_until(int descriptor, uint64_t until, uint64_t count) {
    for (;;) {
        while (take_reply(descriptor, count)) {}
        uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
        if (now >= until) return;
        struct timespec left = {
            .tv_sec = (time_t)((until - now) / 1000000000u),
            .tv_nsec = (long)((until - now) % 1000000000u)};
        struct pollfd poll = {.fd = descriptor, .events = POLLIN};
        ppoll(&poll, 1, &left, NULL);
    }
}

static int ascending(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static void print_percentiles(uint64_t warm_up, uint64_t count) {
    uint64_t answered = 0;
    for (uint64_t i = warm_up; i < count; i++)
        if (round_trips[i]) round_trips[answered++] = round_trips[i];
    qsort(round_trips, answered, sizeof *round_trips, ascending);
    printf("{\"sent\": %llu, \"received\": %llu", (unsigned long long)(count - warm_up),
           (unsigned long long)answered);
    const double shares[] = {0, 0.5, 0.9, 0.99, 1};
    const char *names[] = {"min_us", "p50_us", "p90_us", "p99_us", "max_us"};
    for (int i = 0; answered && i < 5; i++)
        printf(", \"%s\": %.1f", names[i],
               (double)round_trips[(uint64_t)(shares[i] * (double)(answered - 1) + 0.5)] / 1e3);
    printf("}\n");
}

int main(int count, char **arguments) {
    if (count >= 3 && !strcmp(arguments[1], "echo"))
        echo(atoi(arguments[2]), count - 3, arguments + 3);
    if (count != 5 && count != 6) {
        fprintf(stderr, "usage: rtt ADDRESS INTERVAL_MICROSECONDS COUNT WARM_UP_COUNT [UDP_PORT]\n"
                        "       rtt echo UDP_PORT [NAMESPACE...]\n");
        return 2;
    }
    uses_udp = count == 6;
    uint64_t interval = strtoull(arguments[2], NULL, 10) * 1000;
    uint64_t warm_up = strtoull(arguments[4], NULL, 10);
    uint64_t total = strtoull(arguments[3], NULL, 10) + warm_up;
    if (total == 0 || total > COUNT_MAX) return 2;
    sent_at = calloc(total, sizeof *sent_at);
    round_trips = calloc(total, sizeof *round_trips);
    if (!sent_at || !round_trips) fail("calloc");
    run = (uint64_t)getpid();
    ask_for_exact_timers();

    int descriptor = open_socket(arguments[1], uses_udp ? atoi(arguments[5]) : 0);
    uint64_t start = clock_nanoseconds(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < total; i++) {
        take_replies_until(descriptor, start + i * interval, total);
        send_probe(descriptor, i);
    }
    uint64_t patience = clock_nanoseconds(CLOCK_MONOTONIC) + PATIENCE_NANOSECONDS;
    while (!round_trips[total - 1] && clock_nanoseconds(CLOCK_MONOTONIC) < patience)
        take_replies_until(descriptor, clock_nanoseconds(CLOCK_MONOTONIC) + 1000000, total);
    print_percentiles(warm_up, total);
    return 0;
}
