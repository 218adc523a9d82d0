// Holds many watch streams of a coordinator open, and tells when each change arrived on each.
//
//     watchers ADDRESS PORT SECRETS_FILE [STREAMS_AT_ONCE]
//
// SECRETS_FILE holds one node secret a line; each gets a TLS connection of its own. Prints
// `connected COUNT SECONDS` once every stream has had its first event, then a line
// `change NUMBER STREAM NANOSECONDS` (real time at which the line was complete) for each change on
// each stream, and `lost STREAM` for a stream that ends. Ends when its input ends.
//
// The certificate is not checked: this is a load, not a client.

#define _GNU_SOURCE
#include "datagram.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STREAMS_MAX = 1 << 17, SECRET_BYTES = 128, TAIL_BYTES = 64, EVENTS = 256 };

static const char CHANGE_END[] = "\"kind\":\"change\",\"number\":";

static inline uint64_t real_nanoseconds(void) { return clock_nanoseconds(CLOCK_REALTIME); }

struct stream {
    SSL *tls;
    int descriptor;
    enum { CLOSED, CONNECTING, WAITING, OPEN } state;
    int tail_count;
    char tail[TAIL_BYTES];  // What the line so far ends with.
    char secret[SECRET_BYTES];
};

static struct stream *streams;
static int count, next_to_start, starting, open_count, at_once = 64;
static int poll_descriptor;
static SSL_CTX *context;
static struct sockaddr_in server;
static const char *host;
static uint64_t began;

static void watch(int index, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.u32 = (uint32_t)index};
    if (epoll_ctl(poll_descriptor, operation, streams[index].descriptor, &event)) fail("epoll_ctl");
}

static void start(int index) {
    struct stream *stream = &streams[index];
    int on = 1;
    stream->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (stream->descriptor < 0) fail("socket");
    setsockopt(stream->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(stream->descriptor, (struct sockaddr *)&server, sizeof server) &&
        errno != EINPROGRESS)
        fail("connect");
    stream->tls = SSL_new(context);
    if (!stream->tls || !SSL_set_fd(stream->tls, stream->descriptor)) fail("SSL_new");
    SSL_set_connect_state(stream->tls);
    stream->state = CONNECTING;
    starting++;
    watch(index, EPOLLIN | EPOLLOUT, EPOLL_CTL_ADD);
}

static void lose(int index) {
    struct stream *stream = &streams[index];
    if (stream->state == CONNECTING || stream->state == WAITING) starting--;
    if (stream->state == OPEN) open_count--;
    stream->state = CLOSED;
    close(stream->descriptor);
    SSL_free(stream->tls);
    stream->tls = NULL;
    printf("lost %d\n", index);
}

// Takes up one line's end: `tail` holds its last bytes.
static void take_line(int index, uint64_t now) {
    struct stream *stream = &streams[index];
    if (stream->tail_count == 0 || stream->tail[stream->tail_count - 1] != '}')
        return;  // A line of the response's head or of its chunks.
    if (stream->state == WAITING) {
        stream->state = OPEN;
        starting--;
        if (++open_count == count)
            printf("connected %d %.3f\n", count, (double)(now - began) / 1e9);
    }
    // Members come in the order of their names, so these two end a change.
    stream->tail[stream->tail_count] = 0;
    const char *end = strstr(stream->tail, CHANGE_END);
    if (end)
        printf("change %lld %d %llu\n", atoll(end + strlen(CHANGE_END)), index,
               (unsigned long long)now);
}

static void take(int index, const char *bytes, int size, uint64_t now) {
    struct stream *stream = &streams[index];
    for (int i = 0; i < size; i++) {
        if (bytes[i] == '\n') {
            take_line(index, now);
            stream->tail_count = 0;
            continue;
        }
        if (stream->tail_count == TAIL_BYTES - 1) {
            memmove(stream->tail, stream->tail + 1, TAIL_BYTES - 2);
            stream->tail_count--;
        }
        stream->tail[stream->tail_count++] = bytes[i];
    }
}

// Returns whether the stream goes on after what a call of OpenSSL said.
static int goes_on(struct stream *stream, int result) {
    int error = SSL_get_error(stream->tls, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

static void serve(int index) {
    struct stream *stream = &streams[index];
    static char bytes[1 << 16];
    if (stream->state == CONNECTING) {
        int result = SSL_do_handshake(stream->tls);
        if (result != 1) {
            if (!goes_on(stream, result)) lose(index);
            return;
        }
        int size = snprintf(bytes, sizeof bytes,
            "GET /v1/self/watch HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"
            "Accept: application/x-ndjson\r\n\r\n", host, stream->secret);
        if (SSL_write(stream->tls, bytes, size) != size) {
            lose(index);
            return;
        }
        stream->state = WAITING;
        watch(index, EPOLLIN, EPOLL_CTL_MOD);
    }
    for (;;) {
        int size = SSL_read(stream->tls, bytes, sizeof bytes);
        if (size <= 0) {
            if (!goes_on(stream, size)) lose(index);
            return;
        }
        take(index, bytes, size, real_nanoseconds());
    }
}

static void read_secrets(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    streams = calloc(STREAMS_MAX, sizeof *streams);
    if (!streams) fail("calloc");
    while (count < STREAMS_MAX && fgets(streams[count].secret, SECRET_BYTES, file)) {
        streams[count].secret[strcspn(streams[count].secret, "\n")] = 0;
        count++;
    }
    fclose(file);
}

int main(int argument_count, char **arguments) {
    if (argument_count < 4) {
        fprintf(stderr, "usage: watchers ADDRESS PORT SECRETS_FILE [STREAMS_AT_ONCE]\n");
        return 2;
    }
    host = arguments[1];
    server = ipv4_address(host, atoi(arguments[2]));
    read_secrets(arguments[3]);
    if (argument_count > 4) at_once = atoi(arguments[4]);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    context = SSL_CTX_new(TLS_client_method());
    if (!context) fail("SSL_CTX_new");
    // Small records and no spare buffers: the machine's memory is the coordinator's.
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    poll_descriptor = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event input = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    if (epoll_ctl(poll_descriptor, EPOLL_CTL_ADD, STDIN_FILENO, &input)) fail("epoll_ctl");
    began = real_nanoseconds();
    for (;;) {
        while (starting < at_once && next_to_start < count) start(next_to_start++);
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poll_descriptor, events, EVENTS, 0);
        if (ready == 0) {
            fflush(stdout);
            ready = epoll_wait(poll_descriptor, events, EVENTS, -1);
        }
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u32 != UINT32_MAX) {
                if (streams[events[i].data.u32].state != CLOSED) serve((int)events[i].data.u32);
                continue;
            }
            char byte;
            if (read(STDIN_FILENO, &byte, 1) <= 0) return 0;
        }
    }
}
