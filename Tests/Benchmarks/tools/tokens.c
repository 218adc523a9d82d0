// Token streams and prompts over HTTP/1.1, with the times at which their parts arrived.
//
//     tokens serve PORT... [--certificate FILE --key FILE]
//     tokens stream ADDRESS PORT --count N --seconds S     N streams at once
//     tokens prompt ADDRESS PORT --every MICROSECONDS --seconds S
//                                       a prompt on a connection of its own, again and again
//     tokens load ADDRESS PORT --count N --seconds S       N connections, request upon request
//
// Further options: --interval MICROSECONDS between tokens, --warm-up S (of the seconds, not
// counted), --prompt BYTES, --answer BYTES (in one piece, in place of a stream), --tls, --keep
// (`load` keeps its connections). Clients print one JSON object of quantiles in milliseconds:
// `itl` between the arrivals of a stream's events, `delay` from when an event was due until it
// arrived, `ttft` from the last byte of a prompt handed to the kernel to the first of its answer,
// `connect` before that. What has not arrived in the end counts with the time that it has taken.

#define _GNU_SOURCE
#include "tokens.h"

#include <getopt.h>
#include <signal.h>

enum { SAMPLES_MAX = 1 << 22, EVENT_TEXT_BYTES = 512, PATIENCE_S = 5 };

struct client {
    struct transport transport;
    enum { UNUSED, CONNECTING, SENDING, WAITING, ANSWERED } state;
    uint64_t starts, connected, sent, last_event, body_left, answer_left;
    size_t text_count;
    char text[EVENT_TEXT_BYTES];
};

struct samples {
    const char *name;
    uint64_t *values;
    size_t count;
};

static struct samples itl = {.name = "itl"}, delay = {.name = "delay"}, ttft = {.name = "ttft"},
                      connecting = {.name = "connect"};
static enum { STREAM, PROMPT, LOAD } mode;
static struct client *clients;
static struct sockaddr_in server;
static SSL_CTX *context;
static int loop, timer, count = 1, keeps;
static uint64_t interval_us = 20000, every_us = 50000, prompt_bytes = 400, answer_bytes;
static uint64_t counted_from, stops, sent_bytes, got_bytes, answers, failures;
static double seconds = 5, warm_up;

static void add(struct samples *samples, uint64_t value, uint64_t at) {
    if (at >= counted_from && samples->count < SAMPLES_MAX)
        samples->values[samples->count++] = value;
}

static void start(struct client *client) {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) fail("socket");
    transport_set_up(&client->transport, descriptor, context, 0);
    if (connect(descriptor, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)
        fail("connect");
    client->state = CONNECTING;
    client->starts = clock_nanoseconds(CLOCK_MONOTONIC);
    watch(loop, EPOLL_CTL_ADD, descriptor, EPOLLIN | EPOLLOUT, client);
}

static void begin_request(struct client *client) {
    char text[1024], parameters[256];
    uint64_t tokens = answer_bytes        ? 0
                      : mode == STREAM    ? (uint64_t)(seconds * 1e6 / (double)interval_us) + 1
                                          : 1;
    int begun = snprintf(
        parameters, sizeof parameters,
        "{\"model\":\"m\",\"max_tokens\":%llu,\"interval_us\":%llu,\"answer_bytes\":%llu,"
        "\"stream\":%s,\"messages\":[{\"role\":\"user\",\"content\":\"",
        (unsigned long long)tokens, (unsigned long long)interval_us,
        (unsigned long long)answer_bytes, answer_bytes ? "false" : "true");
    uint64_t body = prompt_bytes > (uint64_t)begun + 8 ? prompt_bytes : (uint64_t)begun + 8;
    int size = snprintf(text, sizeof text,
                        "POST /v1/chat/completions HTTP/1.1\r\nHost: hq.example\r\n"
                        "Content-Type: application/json\r\nContent-Length: %llu\r\n\r\n%s",
                        (unsigned long long)body, parameters);
    transport_queue(&client->transport, text, (size_t)size);
    client->body_left = body - (uint64_t)begun;
    client->answer_left = UINT64_MAX;
    client->text_count = 0;
    client->last_event = 0;
    client->state = SENDING;
}

static void close_client(struct client *client) {
    transport_close(&client->transport);
    client->state = UNUSED;
}

static void finish(struct client *client) {
    answers++;
    if (mode == LOAD && keeps) return begin_request(client);
    close_client(client);
    if (mode == LOAD) start(client);
}

// Returns -1 where the connection is over.
static int send_more(struct client *client) {
    static char filler[PIECE_BYTES];
    if (!filler[0]) memset(filler, 'x', sizeof filler);
    while (client->state == SENDING) {
        while (client->body_left && transport_room(&client->transport) >= PIECE_BYTES) {
            uint64_t piece = client->body_left < PIECE_BYTES ? client->body_left : PIECE_BYTES;
            transport_queue(&client->transport, filler, piece);
            client->body_left -= piece;
            if (!client->body_left) memcpy(client->transport.output + client->transport.output_end
                                           - 4, "\"}]}", 4);
            sent_bytes += piece;
        }
        if (transport_flush(&client->transport)) return -1;
        if (transport_has_output(&client->transport)) return 0;
        if (!client->body_left) {
            client->state = WAITING;
            client->sent = clock_nanoseconds(CLOCK_MONOTONIC);
        }
    }
    return transport_flush(&client->transport);
}

static void take_event(struct client *client, uint64_t now) {
    client->text[client->text_count] = 0;
    const char *due = strstr(client->text, "\"t\":");
    if (due) {
        if (client->last_event) add(&itl, now - client->last_event, now);
        client->last_event = now;
        uint64_t at = strtoull(due + 4, NULL, 10);
        add(&delay, now > at ? now - at : 0, now);
    }
    client->text_count = 0;
}

// Follows the answer's parts without keeping them. Returns whether it is complete.
static int take_answer(struct client *client, const char *bytes, size_t got, uint64_t now) {
    for (size_t i = 0; i < got; i++) {
        if (client->answer_left != UINT64_MAX) {
            client->answer_left -= got - i;
            return client->answer_left == 0;
        }
        if (client->text_count + 1 == EVENT_TEXT_BYTES) client->text_count = 0;
        client->text[client->text_count++] = bytes[i];
        size_t n = client->text_count;
        if (bytes[i] != '\n') continue;
        client->text[n] = 0;
        if (n >= 5 && !strcmp(client->text + n - 5, "0\r\n\r\n") &&
            (n == 5 || client->text[n - 6] == '\n')) return 1;
        if (n >= 2 && !strcmp(client->text + n - 2, "\n\n")) take_event(client, now);
        if (n >= 4 && !strcmp(client->text + n - 4, "\r\n\r\n")) {
            const char *length = strstr(client->text, "Content-Length: ");
            if (length) client->answer_left = strtoull(length + 16, NULL, 10);
            client->text_count = 0;
        }
    }
    return 0;
}

static int read_all(struct client *client) {
    static char bytes[PIECE_BYTES];
    for (;;) {
        ssize_t got = transport_read(&client->transport, bytes, sizeof bytes);
        if (got <= 0) return (int)got;
        uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
        got_bytes += (uint64_t)got;
        if (client->state == WAITING) {
            add(&ttft, now - client->sent, now);
            client->state = ANSWERED;
        }
        if (client->state == ANSWERED && take_answer(client, bytes, (size_t)got, now)) {
            finish(client);
            return 0;
        }
    }
}

static void drive(struct client *client) {
    if (client->state == UNUSED) return;
    if (client->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(client->transport.descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
        int done = client->transport.tls ? SSL_do_handshake(client->transport.tls) : 1;
        if (done != 1 && transport_is_waiting(&client->transport, done) && !error)
            return watch(loop, EPOLL_CTL_MOD, client->transport.descriptor,
                         SSL_want_write(client->transport.tls) ? EPOLLOUT : EPOLLIN, client);
        if (error || done != 1) {
            failures++;
            return close_client(client);
        }
        uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
        add(&connecting, now - client->starts, now);
        begin_request(client);
    }
    if (send_more(client) || read_all(client) ||
        (client->state == SENDING && send_more(client))) {
        failures++;
        close_client(client);
        return;
    }
    if (client->state != UNUSED && client->state != CONNECTING)
        watch(loop, EPOLL_CTL_MOD, client->transport.descriptor,
              client->state == SENDING || transport_has_output(&client->transport)
                  ? EPOLLIN | EPOLLOUT : EPOLLIN, client);
}

static struct client *unused_client(void) {
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (clients[i].state == UNUSED) return &clients[i];
    return NULL;
}

static int is_any_in_flight(void) {
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (clients[i].state != UNUSED) return 1;
    return 0;
}

// Starts what is due, and does not begin where all would be in step.
static void run_until_end(void) {
    uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC), next = now;
    uint64_t step = mode == PROMPT ? every_us * 1000 : interval_us * 1000 / (uint64_t)count + 50000;
    int started = 0;
    uint64_t limit = mode == PROMPT ? stops + PATIENCE_S * SECOND : stops;
    while (now < limit && (mode != PROMPT || now < stops || is_any_in_flight())) {
        while (next <= now && now < stops && (mode == PROMPT || started < count)) {
            struct client *client = unused_client();
            if (client) start(client);
            else failures++;
            started++;
            next += step;
        }
        int is_starting = now < stops && (mode == PROMPT || started < count);
        set_alarm(timer, is_starting ? next : limit);
        struct epoll_event events[BATCH];
        int ready = epoll_wait(loop, events, BATCH, 100);
        for (int i = 0; i < ready; i++)
            if (events[i].data.ptr) drive(events[i].data.ptr);
        now = clock_nanoseconds(CLOCK_MONOTONIC);
    }
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct client *client = &clients[i];
        if (client->state == UNUSED) continue;
        if (mode == STREAM && client->last_event && now - client->last_event > 2000 * interval_us)
            add(&itl, now - client->last_event, now);
        if (mode == PROMPT) {
            failures++;
            add(&ttft, now - (client->state >= WAITING ? client->sent : client->starts), now);
        }
    }
}

static int compare(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static double quantile_ms(const struct samples *samples, double share) {
    if (!samples->count) return 0;
    size_t index = (size_t)(share * (double)(samples->count - 1) + 0.5);
    return (double)samples->values[index] / 1e6;
}

static void print_samples(struct samples *samples) {
    qsort(samples->values, samples->count, sizeof *samples->values, compare);
    printf("\"%s\":{\"count\":%zu,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,\"p999\":%.4f,"
           "\"max\":%.4f},", samples->name, samples->count, quantile_ms(samples, 0.5),
           quantile_ms(samples, 0.9), quantile_ms(samples, 0.99), quantile_ms(samples, 0.999),
           quantile_ms(samples, 1));
}

static _Noreturn void usage(void) {
    fprintf(stderr, "usage: tokens serve PORT... | stream | prompt | load ADDRESS PORT OPTIONS\n");
    exit(2);
}

int main(int argument_count, char **arguments) {
    static const struct option options[] = {
        {"count", 1, 0, 'n'}, {"seconds", 1, 0, 's'}, {"warm-up", 1, 0, 'w'},
        {"interval", 1, 0, 'i'}, {"every", 1, 0, 'e'}, {"prompt", 1, 0, 'p'},
        {"answer", 1, 0, 'a'}, {"tls", 0, 0, 't'}, {"keep", 0, 0, 'k'},
        {"certificate", 1, 0, 'c'}, {"key", 1, 0, 'y'}, {0, 0, 0, 0}};
    const char *certificate = NULL, *key = NULL;
    int is_tls = 0;
    for (int option; (option = getopt_long(argument_count, arguments, "", options, NULL)) != -1;) {
        switch (option) {
        case 'n': count = atoi(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'w': warm_up = atof(optarg); break;
        case 'i': interval_us = strtoull(optarg, NULL, 10); break;
        case 'e': every_us = strtoull(optarg, NULL, 10); break;
        case 'p': prompt_bytes = strtoull(optarg, NULL, 10); break;
        case 'a': answer_bytes = strtoull(optarg, NULL, 10); break;
        case 't': is_tls = 1; break;
        case 'k': keeps = 1; break;
        case 'c': certificate = optarg; break;
        case 'y': key = optarg; break;
        default: usage();
        }
    }
    char **words = arguments + optind;
    int word_count = argument_count - optind;
    ask_for_exact_timers();
    signal(SIGPIPE, SIG_IGN);  // TLS writes without MSG_NOSIGNAL; an ended connection says EPIPE.
    if (word_count >= 2 && !strcmp(words[0], "serve"))
        serve(word_count - 1, words + 1, certificate, key);
    if (word_count != 3 || count < 1 || count > CONNECTIONS_MAX || !interval_us || !every_us)
        usage();
    if (!strcmp(words[0], "stream")) mode = STREAM;
    else if (!strcmp(words[0], "prompt")) mode = PROMPT;
    else if (!strcmp(words[0], "load")) mode = LOAD;
    else usage();
    server = ipv4_address(words[1], atoi(words[2]));
    if (is_tls) {
        context = SSL_CTX_new(TLS_client_method());
        if (!context) fail("SSL_CTX_new");
        SSL_CTX_set_mode(
            context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    struct samples *all[] = {&itl, &delay, &ttft, &connecting};
    for (int i = 0; i < 4; i++) all[i]->values = malloc(SAMPLES_MAX * sizeof(uint64_t));
    clients = calloc(CONNECTIONS_MAX, sizeof *clients);
    loop = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop < 0 || timer < 0 || !clients) fail("tokens");
    watch(loop, EPOLL_CTL_ADD, timer, EPOLLIN | EPOLLET, NULL);
    uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
    counted_from = now + (uint64_t)(warm_up * 1e9);
    stops = now + (uint64_t)(seconds * 1e9);
    run_until_end();
    printf("{");
    for (int i = 0; i < 4; i++) print_samples(all[i]);
    printf("\"answers\":%llu,\"failures\":%llu,\"sent_bytes\":%llu,\"got_bytes\":%llu}\n",
           (unsigned long long)answers, (unsigned long long)failures,
           (unsigned long long)sent_bytes, (unsigned long long)got_bytes);
    return 0;
}
