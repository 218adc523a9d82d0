// An OpenAI-compatible server that makes up its answers: the serving half of `tokens`.
//
// A request's JSON begins with `max_tokens`, `interval_us`, `answer_bytes`: a stream of so many
// events on an absolute schedule, the first one at once, or so many bytes in one piece. Each event
// says when it was due to leave, on the clock that all programs of this machine share.

#define _GNU_SOURCE
#include "tokens.h"

enum {
    HEAD_BYTES = 8192, PARAMETERS_BYTES = 256, EVENT_BYTES_MIN = 120, EVENT_BYTES_MAX = 320,
    EVENT_HEAD_MAX = 256, LISTENERS_MAX = 16,
};

struct session {
    struct transport transport;
    enum { FREE, HEAD, BODY, STREAM, ANSWER } state;
    size_t head_count;
    char head[HEAD_BYTES + 1];
    size_t parameters_count;
    char parameters[PARAMETERS_BYTES + 1];
    uint64_t body_left, answer_left, events_left, interval, due;
    int wants_output, is_listener;
};

static struct session *sessions, listeners[LISTENERS_MAX];
static int loop, timer;
static uint32_t seed = 1;
static char filler[PIECE_BYTES];

static uint32_t next_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

static void end(struct session *session) {
    transport_close(&session->transport);
    session->state = FREE;
}

static void accept_all(int descriptor, SSL_CTX *context) {
    for (;;) {
        int accepted = accept4(descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted < 0) return;
        struct session *session = sessions;
        while (session < sessions + CONNECTIONS_MAX && session->state != FREE) session++;
        if (session == sessions + CONNECTIONS_MAX) {
            close(accepted);
            continue;
        }
        transport_set_up(&session->transport, accepted, context, 1);
        session->state = HEAD;
        session->head_count = 0;
        session->wants_output = 0;
        watch(loop, EPOLL_CTL_ADD, accepted, EPOLLIN, session);
    }
}

static uint64_t parameter(const char *text, const char *name) {
    const char *found = strstr(text, name);
    return found ? strtoull(found + strlen(name), NULL, 10) : 0;
}

static void queue_text(struct session *session, const char *text) {
    transport_queue(&session->transport, text, strlen(text));
}

static void queue_chunk(struct session *session, const char *text, size_t count) {
    char size[16];
    snprintf(size, sizeof size, "%zx\r\n", count);
    queue_text(session, size);
    transport_queue(&session->transport, text, count);
    queue_text(session, "\r\n");
}

static void queue_event(struct session *session) {
    char event[EVENT_BYTES_MAX + EVENT_HEAD_MAX];
    size_t wanted = EVENT_BYTES_MIN + next_random() % (EVENT_BYTES_MAX - EVENT_BYTES_MIN + 1);
    size_t count = (size_t)snprintf(
        event, EVENT_HEAD_MAX,
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"t\":%llu,"
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
        (unsigned long long)session->due);
    static const char tail[] = "\"}}]}\n\n";
    while (count + sizeof tail - 1 < wanted) event[count++] = 'x';
    memcpy(event + count, tail, sizeof tail - 1);
    queue_chunk(session, event, count + sizeof tail - 1);
}

// The whole request is there.
static void begin_answer(struct session *session) {
    session->parameters[session->parameters_count] = 0;
    session->events_left = parameter(session->parameters, "\"max_tokens\":");
    session->interval = parameter(session->parameters, "\"interval_us\":") * 1000;
    session->answer_left = parameter(session->parameters, "\"answer_bytes\":");
    session->due = clock_nanoseconds(CLOCK_MONOTONIC);
    if (session->events_left) {
        session->state = STREAM;
        queue_text(session, "HTTP/1.1 200 OK\r\nServer: tokens\r\n"
                            "Content-Type: text/event-stream; charset=utf-8\r\n"
                            "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n");
        return;
    }
    char head[256];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nServer: tokens\r\n"
             "Content-Type: application/json\r\nContent-Length: %llu\r\n\r\n",
             (unsigned long long)session->answer_left);
    session->state = ANSWER;
    queue_text(session, head);
}

static void expect_request(struct session *session) {
    session->state = HEAD;
    session->head_count = 0;
}

// Puts what is due into the output. Returns -1 where the connection is over.
static int produce(struct session *session, uint64_t now) {
    for (;;) {
        if (session->state == STREAM) {
            while (session->events_left && session->due <= now &&
                   transport_room(&session->transport) > 2 * EVENT_BYTES_MAX) {
                queue_event(session);
                session->events_left--;
                session->due += session->interval;
            }
            if (!session->events_left && transport_room(&session->transport) > EVENT_BYTES_MAX) {
                queue_chunk(session, "data: [DONE]\n\n", 14);
                queue_text(session, "0\r\n\r\n");
                expect_request(session);
            }
        } else if (session->state == ANSWER) {
            size_t room = transport_room(&session->transport);
            size_t piece = session->answer_left < PIECE_BYTES ? session->answer_left : PIECE_BYTES;
            if (room >= piece) {
                transport_queue(&session->transport, filler, piece);
                session->answer_left -= piece;
            }
            if (!session->answer_left) expect_request(session);
        }
        if (transport_flush(&session->transport)) return -1;
        if (session->state != ANSWER || transport_has_output(&session->transport)) break;
    }
    int wants = transport_has_output(&session->transport);
    if (wants != session->wants_output) {
        session->wants_output = wants;
        watch(loop, EPOLL_CTL_MOD, session->transport.descriptor,
              wants ? EPOLLIN | EPOLLOUT : EPOLLIN, session);
    }
    return 0;
}

static void take_body(struct session *session, const char *bytes, size_t count) {
    size_t kept = PARAMETERS_BYTES - session->parameters_count;
    if (kept > count) kept = count;
    memcpy(session->parameters + session->parameters_count, bytes, kept);
    session->parameters_count += kept;
    session->body_left -= count < session->body_left ? count : session->body_left;
    if (!session->body_left) begin_answer(session);
}

// Returns -1 for what is no request.
static int take_head(struct session *session, const char *bytes, size_t count) {
    if (session->head_count + count > HEAD_BYTES) return -1;
    memcpy(session->head + session->head_count, bytes, count);
    session->head_count += count;
    session->head[session->head_count] = 0;
    char *blank = strstr(session->head, "\r\n\r\n");
    if (!blank) return 0;
    size_t rest = session->head_count - (size_t)(blank + 4 - session->head);
    session->state = BODY;
    session->parameters_count = 0;
    session->body_left = parameter(session->head, "Content-Length: ");
    take_body(session, blank + 4, rest);
    return 0;
}

static int read_all(struct session *session) {
    static char bytes[PIECE_BYTES];
    for (;;) {
        size_t limit = session->state == HEAD ? HEAD_BYTES - session->head_count : PIECE_BYTES;
        ssize_t got = transport_read(&session->transport, bytes, limit);
        if (got <= 0) return (int)got;
        if (session->state == HEAD) {
            if (take_head(session, bytes, (size_t)got)) return -1;
        } else if (session->state == BODY) {
            take_body(session, bytes, (size_t)got);
        } else {
            return -1;  // A request before the answer to the one before has ended.
        }
    }
}

static void run_due(void) {
    uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC), next = UINT64_MAX;
    for (struct session *session = sessions; session < sessions + CONNECTIONS_MAX; session++) {
        if (session->state != STREAM) continue;
        if (session->due <= now && produce(session, now)) end(session);
        // One that waits for room is woken by its socket.
        if (session->state == STREAM && session->due > now && session->due < next)
            next = session->due;
    }
    set_alarm(timer, next);
}

static void listen_on(struct session *listener, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1;
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) fail("socket");
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address)) fail("bind");
    if (listen(descriptor, 512)) fail("listen");
    listener->transport.descriptor = descriptor;
    listener->is_listener = 1;
    watch(loop, EPOLL_CTL_ADD, descriptor, EPOLLIN, listener);
}

static SSL_CTX *make_context(const char *certificate, const char *key) {
    if (!certificate) return NULL;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context || SSL_CTX_use_certificate_file(context, certificate, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "no certificate or key in %s, %s\n", certificate, key);
        exit(1);
    }
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

_Noreturn void serve(int count, char **ports, const char *certificate, const char *key) {
    SSL_CTX *context = make_context(certificate, key);
    sessions = calloc(CONNECTIONS_MAX, sizeof *sessions);
    memset(filler, 'x', sizeof filler);
    loop = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop < 0 || timer < 0 || !sessions) fail("tokens");
    watch(loop, EPOLL_CTL_ADD, timer, EPOLLIN, NULL);
    for (int i = 0; i < count && i < LISTENERS_MAX; i++) listen_on(&listeners[i], atoi(ports[i]));
    printf("ready\n");
    fflush(stdout);
    for (struct epoll_event events[BATCH];;) {
        int ready = epoll_wait(loop, events, BATCH, -1);
        for (int i = 0; i < ready; i++) {
            struct session *session = events[i].data.ptr;
            if (!session) continue;
            if (session->is_listener) {
                accept_all(session->transport.descriptor, context);
            } else if (session->state != FREE &&
                       (read_all(session) ||
                        produce(session, clock_nanoseconds(CLOCK_MONOTONIC)))) {
                end(session);
            }
        }
        run_due();
    }
}
