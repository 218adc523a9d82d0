// The first bytes of every benchmark datagram, and the small helpers that the load tools share.
#ifndef BENCHMARK_DATAGRAM_H
#define BENCHMARK_DATAGRAM_H

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

// Host byte order: both ends run on this machine.
struct datagram_head {
    uint64_t run;       // Trial number; datagrams of other trials are ignored.
    uint64_t sequence;  // From 0.
};

static inline void fail(const char *what) {
    perror(what);
    exit(1);
}

static inline uint64_t clock_nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void sleep_until(uint64_t monotonic_nanoseconds) {
    struct timespec until = {
        .tv_sec = (time_t)(monotonic_nanoseconds / 1000000000u),
        .tv_nsec = (long)(monotonic_nanoseconds % 1000000000u),
    };
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

// Without this the kernel may delay each wake-up by 50 microseconds.
static inline void ask_for_exact_timers(void) { prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0); }

static inline struct sockaddr_in ipv4_address(const char *text, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1) {
        fprintf(stderr, "not an IPv4 address: %s\n", text);
        exit(2);
    }
    return address;
}

#endif
