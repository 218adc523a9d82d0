// A TCP connection, in clear or under TLS, whose writes wait in a buffer of their own.
#ifndef BENCHMARK_TRANSPORT_H
#define BENCHMARK_TRANSPORT_H

#include "datagram.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OUTPUT_BYTES = 1 << 17 };

struct transport {
    int descriptor;
    SSL *tls;  // NULL: in clear.
    size_t output_start, output_end;
    char output[OUTPUT_BYTES];
};

static inline void transport_set_up(struct transport *transport, int descriptor, SSL_CTX *context,
                                    int is_server) {
    int on = 1;
    transport->descriptor = descriptor;
    transport->tls = NULL;
    transport->output_start = transport->output_end = 0;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!context) return;
    transport->tls = SSL_new(context);
    if (!transport->tls || !SSL_set_fd(transport->tls, descriptor)) fail("SSL_new");
    if (is_server) SSL_set_accept_state(transport->tls);
    else SSL_set_connect_state(transport->tls);
}

static inline void transport_close(struct transport *transport) {
    if (transport->tls) SSL_free(transport->tls);
    close(transport->descriptor);
    transport->tls = NULL;
    transport->descriptor = -1;
}

static inline size_t transport_room(const struct transport *transport) {
    return OUTPUT_BYTES - (transport->output_end - transport->output_start);
}

static inline int transport_has_output(const struct transport *transport) {
    return transport->output_end > transport->output_start;
}

// Takes bytes for sending; the caller has looked at `transport_room`.
static inline void transport_queue(struct transport *transport, const void *bytes, size_t count) {
    if (OUTPUT_BYTES - transport->output_end < count) {
        size_t waiting = transport->output_end - transport->output_start;
        memmove(transport->output, transport->output + transport->output_start, waiting);
        transport->output_start = 0;
        transport->output_end = waiting;
    }
    memcpy(transport->output + transport->output_end, bytes, count);
    transport->output_end += count;
}

// Whether TLS goes on after a call that did nothing. SSL_get_error also looks into the thread's
// queue of errors, where another connection's end would else be taken for this one's.
static inline int transport_is_waiting(struct transport *transport, int result) {
    int error = SSL_get_error(transport->tls, result);
    ERR_clear_error();
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

// Returns -1 where the connection is over.
static inline int transport_flush(struct transport *transport) {
    while (transport_has_output(transport)) {
        const char *from = transport->output + transport->output_start;
        size_t count = transport->output_end - transport->output_start;
        ssize_t sent;
        if (transport->tls) {
            int result = SSL_write(transport->tls, from, (int)count);
            if (result <= 0) return transport_is_waiting(transport, result) ? 0 : -1;
            sent = result;
        } else {
            sent = send(transport->descriptor, from, count, MSG_NOSIGNAL);
            if (sent < 0) return errno == EAGAIN || errno == ENOTCONN ? 0 : -1;
        }
        transport->output_start += (size_t)sent;
    }
    transport->output_start = transport->output_end = 0;
    return 0;
}

// Returns how many bytes came, 0 where none are there now, -1 where the connection is over.
static inline ssize_t transport_read(struct transport *transport, void *bytes, size_t count) {
    if (transport->tls) {
        int got = SSL_read(transport->tls, bytes, (int)count);
        if (got > 0) return got;
        return transport_is_waiting(transport, got) ? 0 : -1;
    }
    ssize_t got = recv(transport->descriptor, bytes, count, 0);
    if (got > 0) return got;
    return got < 0 && errno == EAGAIN ? 0 : -1;
}

#endif
