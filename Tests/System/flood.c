// Sends prepared IPv4 packets at a bounded rate through a raw socket.
//
// usage: flood FILE PACKET_BYTES PACKETS_PER_SECOND SECONDS
//
// FILE holds whole IPv4 packets of PACKET_BYTES each, sent in turn and again from the first.
// Prints the number of packets sent.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

enum { BATCH = 10, DESTINATION_OFFSET = 16 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static char *read_whole(const char *path, size_t *count) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *bytes = malloc((size_t)size);
    *count = fread(bytes, 1, (size_t)size, file);
    fclose(file);
    return bytes;
}

int main(int count, char **arguments) {
    if (count != 5) return 2;
    size_t size = 0, packet_bytes = (size_t)atol(arguments[2]);
    char *packets = read_whole(arguments[1], &size);
    double rate = atof(arguments[3]), end = now() + atof(arguments[4]), due = now();
    size_t packet_count = packets && packet_bytes ? size / packet_bytes : 0, next = 0;
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    if (packet_count == 0 || raw < 0) {
        perror("flood");
        return 1;
    }
    unsigned long sent = 0;
    while (due < end) {
        struct mmsghdr messages[BATCH];
        struct iovec pieces[BATCH];
        struct sockaddr_in targets[BATCH];
        memset(messages, 0, sizeof messages);
        memset(targets, 0, sizeof targets);
        for (int i = 0; i < BATCH; i++) {
            char *packet = packets + next * packet_bytes;
            next = (next + 1) % packet_count;
            targets[i].sin_family = AF_INET;
            memcpy(&targets[i].sin_addr, packet + DESTINATION_OFFSET, 4);
            pieces[i] = (struct iovec){packet, packet_bytes};
            messages[i].msg_hdr.msg_name = &targets[i];
            messages[i].msg_hdr.msg_namelen = sizeof targets[i];
            messages[i].msg_hdr.msg_iov = &pieces[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        int done = sendmmsg(raw, messages, BATCH, 0);
        if (done > 0) sent += (unsigned long)done;
        due += BATCH / rate;
        double pause = due - now();
        if (pause > 0) {
            struct timespec rest = {(time_t)pause, (long)((pause - (double)(time_t)pause) * 1e9)};
            nanosleep(&rest, NULL);
        }
    }
    printf("%lu\n", sent);
    return 0;
}
