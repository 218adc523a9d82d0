// Sends UDP datagrams of one size for a bounded time, each a packet of its own (no UDP_SEGMENT).
//
//     udp_send ADDRESS PORT RUN SECONDS PACKETS_PER_SECOND PAYLOAD_BYTES
//
// PACKETS_PER_SECOND 0 offers as many as the kernel takes. A paced sender that was kept from
// running catches up by at most 256 packets (half a TUN queue) and forgets the rest, so that its own
// delays do not appear as the tunnel's losses. Prints one JSON object: packets sent, and the seconds
// that took; their ratio is the rate it reached.

#define _GNU_SOURCE
#include "datagram.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { BATCH_MAX = 64, PAYLOAD_BYTES_MAX = 1400, BURST_MAX = 256 };
static const uint64_t TICK_NANOSECONDS = 200000;

static uint8_t payloads[BATCH_MAX][PAYLOAD_BYTES_MAX];
static struct iovec vectors[BATCH_MAX];
static struct mmsghdr messages[BATCH_MAX];

static void prepare(uint64_t run, size_t payload_bytes) {
    for (int i = 0; i < BATCH_MAX; i++) {
        ((struct datagram_head *)payloads[i])->run = run;
        vectors[i] = (struct iovec){payloads[i], payload_bytes};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
}

// Returns how many of `count` the kernel took.
static int send_batch(int descriptor, uint64_t sequence, int count) {
    for (int i = 0; i < count; i++)
        ((struct datagram_head *)payloads[i])->sequence = sequence + (uint64_t)i;
    int sent = sendmmsg(descriptor, messages, (unsigned)count, 0);
    if (sent >= 0) return sent;
    if (errno == ENOBUFS || errno == EAGAIN || errno == EINTR) return 0;
    fail("sendmmsg");
    return 0;
}

static uint64_t send_unlimited(int descriptor, uint64_t until) {
    uint64_t sent = 0;
    while (clock_nanoseconds(CLOCK_MONOTONIC) < until)
        sent += (uint64_t)send_batch(descriptor, sent, BATCH_MAX);
    return sent;
}

static uint64_t send_paced(int descriptor, uint64_t start, uint64_t until, double rate) {
    uint64_t sent = 0, tick = start;
    double owed = 0;
    for (uint64_t last = start;;) {
        uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
        if (now >= until) return sent;
        owed += rate * (double)(now - last) / 1e9;
        if (owed > BURST_MAX) owed = BURST_MAX;
        last = now;
        while (owed >= 1) {
            int count = owed < BATCH_MAX ? (int)owed : BATCH_MAX;
            sent += (uint64_t)send_batch(descriptor, sent, count);
            owed -= count;
        }
        tick = tick + TICK_NANOSECONDS > now ? tick + TICK_NANOSECONDS : now + TICK_NANOSECONDS;
        sleep_until(tick);
    }
}

int main(int count, char **arguments) {
    if (count != 7) {
        fprintf(stderr, "usage: udp_send ADDRESS PORT RUN SECONDS PACKETS_PER_SECOND BYTES\n");
        return 2;
    }
    struct sockaddr_in address = ipv4_address(arguments[1], atoi(arguments[2]));
    double seconds = atof(arguments[4]), rate = atof(arguments[5]);
    size_t payload_bytes = (size_t)atoi(arguments[6]);
    if (payload_bytes < sizeof(struct datagram_head) || payload_bytes > PAYLOAD_BYTES_MAX) {
        fprintf(stderr, "payload must be 16 to %d bytes\n", PAYLOAD_BYTES_MAX);
        return 2;
    }
    prepare(strtoull(arguments[3], NULL, 10), payload_bytes);
    ask_for_exact_timers();

    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) fail("socket");
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address)) fail("connect");

    uint64_t start = clock_nanoseconds(CLOCK_MONOTONIC);
    uint64_t until = start + (uint64_t)(seconds * 1e9);
    uint64_t sent = rate > 0 ? send_paced(descriptor, start, until, rate)
                             : send_unlimited(descriptor, until);
    double took = (double)(clock_nanoseconds(CLOCK_MONOTONIC) - start) / 1e9;
    printf("{\"sent\": %llu, \"seconds\": %.6f}\n", (unsigned long long)sent, took);
    return 0;
}
