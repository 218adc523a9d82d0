// What the two halves of `tokens` share.
#ifndef BENCHMARK_TOKENS_H
#define BENCHMARK_TOKENS_H

#include "transport.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

enum { CONNECTIONS_MAX = 1024, BATCH = 64, PIECE_BYTES = 1 << 16 };
#define SECOND 1000000000ull

// Serves until it is ended.
_Noreturn void serve(int count, char **ports, const char *certificate, const char *key);

// Wakes `loop` at a monotonic time; UINT64_MAX for never.
static inline void set_alarm(int timer, uint64_t at) {
    struct itimerspec until = {0};
    if (at != UINT64_MAX) {
        until.it_value.tv_sec = (time_t)(at / SECOND);
        until.it_value.tv_nsec = (long)(at % SECOND) | 1;  // Zero would mean never.
    }
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &until, NULL)) fail("timerfd_settime");
}

static inline void watch(int loop, int operation, int descriptor, uint32_t events, void *owner) {
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(loop, operation, descriptor, &event)) fail("epoll_ctl");
}

#endif
