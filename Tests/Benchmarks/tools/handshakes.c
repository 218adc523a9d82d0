// Makes WireGuard handshakes with a responder as fast as it answers, at most a few at a time.
//
//     handshakes identities COUNT
//     handshakes load ADDRESS PORT RESPONDER_PUBLIC_KEY IDENTITIES SECONDS IN_FLIGHT
//
// `identities` prints the public keys that the responder must know, base64, one a line. `load`
// walks through them in turn, since responders accept few initiations a second of one peer, and
// checks every response down to its authentication tag. With few in flight a responder's queue
// stays short, so it must not ask for cookies: a cookie reply counts as a failure.
// Prints one JSON object. Source: WireGuard paper, section 5.4.
//
// 1. fill every free slot with an initiation (serial)
// 2. take responses: verify, count, free the slot
// 3. give up on slots that had no response for 500 ms

#define _GNU_SOURCE
#include "blake2s.h"
#include "datagram.h"

#include <poll.h>
#include <sodium.h>
#include <sys/socket.h>

enum { KEY_BYTES = 32, TAG_BYTES = 16, TAI64N_BYTES = 12 };
enum { IDENTITIES_MAX = 100000, IN_FLIGHT_MAX = 256 };
enum { TYPE_INITIATION = 1, TYPE_RESPONSE = 2, TYPE_COOKIE = 3 };
static const uint64_t PATIENCE_NANOSECONDS = 500000000u;
static const uint64_t TAI64_EPOCH_SECONDS = 0x400000000000000aull;
static const char CONSTRUCTION[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
static const char IDENTIFIER[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
static const char MAC1_LABEL[] = "mac1----";

struct initiation {
    uint32_t type, sender;
    uint8_t ephemeral[KEY_BYTES], sealed_static[KEY_BYTES + TAG_BYTES];
    uint8_t sealed_timestamp[TAI64N_BYTES + TAG_BYTES], mac1[MAC_BYTES], mac2[MAC_BYTES];
};

struct response {
    uint32_t type, sender, receiver;
    uint8_t ephemeral[KEY_BYTES], sealed_nothing[TAG_BYTES], mac1[MAC_BYTES], mac2[MAC_BYTES];
};

_Static_assert(sizeof(struct initiation) == 148, "wire size");
_Static_assert(sizeof(struct response) == 92, "wire size");

struct identity {
    uint8_t private_key[KEY_BYTES], public_key[KEY_BYTES], shared[KEY_BYTES];
};

struct slot {
    int is_busy;
    uint32_t index;
    uint64_t sent_at;
    const struct identity *identity;
    uint8_t ephemeral_private[KEY_BYTES], chaining_key[HASH_BYTES], hash[HASH_BYTES];
};

static struct identity *identities;
static struct slot slots[IN_FLIGHT_MAX];
static uint8_t responder_key[KEY_BYTES], initial_key[HASH_BYTES], initial_hash[HASH_BYTES];
static uint8_t mac1_key[HASH_BYTES];
static uint64_t completed, cookies, invalid, timeouts;

static void make_identity(struct identity *identity, uint64_t number) {
    static const char label[] = "benchmark identity, never a secret";
    blake2s_pair(identity->private_key, label, sizeof label, &number, sizeof number);
    crypto_scalarmult_base(identity->public_key, identity->private_key);
}

static void mix_hash(uint8_t hash[HASH_BYTES], const void *bytes, size_t count) {
    blake2s_pair(hash, hash, HASH_BYTES, bytes, count);
}

static void prepare_constants(void) {
    blake2s_pair(initial_key, CONSTRUCTION, sizeof CONSTRUCTION - 1, NULL, 0);
    blake2s_pair(initial_hash, initial_key, HASH_BYTES, IDENTIFIER, sizeof IDENTIFIER - 1);
    mix_hash(initial_hash, responder_key, KEY_BYTES);
    blake2s_pair(mac1_key, MAC1_LABEL, sizeof MAC1_LABEL - 1, responder_key, KEY_BYTES);
}

static void seal(uint8_t *sealed, const void *plain, size_t count, const uint8_t key[KEY_BYTES],
                 const uint8_t hash[HASH_BYTES]) {
    static const uint8_t nonce[12];
    crypto_aead_chacha20poly1305_ietf_encrypt(sealed, NULL, plain, count, hash, HASH_BYTES, NULL,
                                              nonce, key);
}

static void make_timestamp(uint8_t timestamp[TAI64N_BYTES]) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seconds = TAI64_EPOCH_SECONDS + (uint64_t)now.tv_sec;
    for (int i = 0; i < 8; i++) timestamp[i] = (uint8_t)(seconds >> (56 - 8 * i));
    for (int i = 0; i < 4; i++) timestamp[8 + i] = (uint8_t)((uint32_t)now.tv_nsec >> (24 - 8 * i));
}

static void make_initiation(struct initiation *message, struct slot *slot) {
    const struct identity *identity = slot->identity;
    uint8_t shared[KEY_BYTES], key[KEY_BYTES], timestamp[TAI64N_BYTES];
    memset(message, 0, sizeof *message);
    message->type = TYPE_INITIATION;
    message->sender = slot->index;
    memcpy(slot->hash, initial_hash, HASH_BYTES);

    // e
    randombytes_buf(slot->ephemeral_private, KEY_BYTES);
    crypto_scalarmult_base(message->ephemeral, slot->ephemeral_private);
    blake2s_hkdf(slot->chaining_key, NULL, NULL, initial_key, message->ephemeral, KEY_BYTES);
    mix_hash(slot->hash, message->ephemeral, KEY_BYTES);
    // es
    if (crypto_scalarmult(shared, slot->ephemeral_private, responder_key)) fail("X25519");
    blake2s_hkdf(slot->chaining_key, key, NULL, slot->chaining_key, shared, KEY_BYTES);
    // s
    seal(message->sealed_static, identity->public_key, KEY_BYTES, key, slot->hash);
    mix_hash(slot->hash, message->sealed_static, sizeof message->sealed_static);
    // ss
    blake2s_hkdf(slot->chaining_key, key, NULL, slot->chaining_key, identity->shared, KEY_BYTES);
    // {t}
    make_timestamp(timestamp);
    seal(message->sealed_timestamp, timestamp, sizeof timestamp, key, slot->hash);
    mix_hash(slot->hash, message->sealed_timestamp, sizeof message->sealed_timestamp);

    struct blake2s mac;
    blake2s_start(&mac, MAC_BYTES, mac1_key, sizeof mac1_key);
    blake2s_update(&mac, message, offsetof(struct initiation, mac1));
    blake2s_finish(&mac, message->mac1);
}

static int response_is_valid(const struct response *message, const struct slot *slot) {
    static const uint8_t nonce[12], preshared_key[KEY_BYTES];
    uint8_t chaining_key[HASH_BYTES], hash[HASH_BYTES], shared[KEY_BYTES];
    uint8_t mixed[KEY_BYTES], key[KEY_BYTES], nothing[1];
    memcpy(hash, slot->hash, HASH_BYTES);
    // e
    blake2s_hkdf(chaining_key, NULL, NULL, slot->chaining_key, message->ephemeral, KEY_BYTES);
    mix_hash(hash, message->ephemeral, KEY_BYTES);
    // ee
    if (crypto_scalarmult(shared, slot->ephemeral_private, message->ephemeral)) return 0;
    blake2s_hkdf(chaining_key, NULL, NULL, chaining_key, shared, KEY_BYTES);
    // se
    if (crypto_scalarmult(shared, slot->identity->private_key, message->ephemeral)) return 0;
    blake2s_hkdf(chaining_key, NULL, NULL, chaining_key, shared, KEY_BYTES);
    // psk
    blake2s_hkdf(chaining_key, mixed, key, chaining_key, preshared_key, KEY_BYTES);
    mix_hash(hash, mixed, KEY_BYTES);
    // {}
    return !crypto_aead_chacha20poly1305_ietf_decrypt(
        nothing, NULL, NULL, message->sealed_nothing, sizeof message->sealed_nothing, hash,
        HASH_BYTES, nonce, key);
}

static void fill_slots(int descriptor, int in_flight, uint64_t identity_count) {
    static uint64_t next;
    for (int i = 0; i < in_flight; i++) {
        struct slot *slot = &slots[i];
        uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
        if (slot->is_busy && now - slot->sent_at < PATIENCE_NANOSECONDS) continue;
        if (slot->is_busy) timeouts++;
        struct initiation message;
        slot->identity = &identities[next % identity_count];
        slot->index = ((uint32_t)next << 8) | (uint32_t)i;
        next++;
        make_initiation(&message, slot);
        slot->is_busy = 1;
        slot->sent_at = clock_nanoseconds(CLOCK_MONOTONIC);
        send(descriptor, &message, sizeof message, 0);
    }
}

static void take_messages(int descriptor, int in_flight) {
    uint8_t bytes[2048];
    struct pollfd poll_set = {.fd = descriptor, .events = POLLIN};
    if (poll(&poll_set, 1, 10) <= 0) return;
    ssize_t got = recv(descriptor, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 4) return;
    if (bytes[0] == TYPE_COOKIE) cookies++;
    if (bytes[0] != TYPE_RESPONSE || got != sizeof(struct response)) return;
    struct response message;
    memcpy(&message, bytes, sizeof message);
    struct slot *slot = &slots[message.receiver & (IN_FLIGHT_MAX - 1)];
    if ((int)(slot - slots) >= in_flight || !slot->is_busy || slot->index != message.receiver)
        return;
    if (response_is_valid(&message, slot)) completed++;
    else invalid++;
    slot->is_busy = 0;
}

static void read_base64_key(uint8_t key[KEY_BYTES], const char *text) {
    size_t size = 0;
    if (sodium_base642bin(key, KEY_BYTES, text, strlen(text), NULL, &size, NULL,
                          sodium_base64_VARIANT_ORIGINAL) || size != KEY_BYTES) {
        fprintf(stderr, "not a WireGuard key: %s\n", text);
        exit(2);
    }
}

static int load(char **arguments) {
    struct sockaddr_in address = ipv4_address(arguments[2], atoi(arguments[3]));
    read_base64_key(responder_key, arguments[4]);
    uint64_t identity_count = strtoull(arguments[5], NULL, 10);
    double seconds = atof(arguments[6]);
    int in_flight = atoi(arguments[7]);
    if (!identity_count || identity_count > IDENTITIES_MAX) return 2;
    if (in_flight < 1 || in_flight > IN_FLIGHT_MAX) return 2;
    prepare_constants();
    identities = calloc(identity_count, sizeof *identities);
    if (!identities) fail("calloc");
    for (uint64_t i = 0; i < identity_count; i++) {
        make_identity(&identities[i], i);
        if (crypto_scalarmult(identities[i].shared, identities[i].private_key, responder_key))
            fail("X25519");
    }
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) fail("socket");
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address)) fail("connect");

    uint64_t start = clock_nanoseconds(CLOCK_MONOTONIC), now = start;
    while (now - start < (uint64_t)(seconds * 1e9)) {
        fill_slots(descriptor, in_flight, identity_count);
        take_messages(descriptor, in_flight);
        now = clock_nanoseconds(CLOCK_MONOTONIC);
    }
    printf("{\"completed\": %llu, \"seconds\": %.6f, \"cookies\": %llu, \"invalid\": %llu, "
           "\"timeouts\": %llu}\n", (unsigned long long)completed, (double)(now - start) / 1e9,
           (unsigned long long)cookies, (unsigned long long)invalid, (unsigned long long)timeouts);
    return 0;
}

static int print_identities(uint64_t count) {
    char text[64];
    for (uint64_t i = 0; i < count && i < IDENTITIES_MAX; i++) {
        struct identity identity;
        make_identity(&identity, i);
        printf("%s\n", sodium_bin2base64(text, sizeof text, identity.public_key, KEY_BYTES,
                                         sodium_base64_VARIANT_ORIGINAL));
    }
    return 0;
}

int main(int count, char **arguments) {
    if (sodium_init() < 0) fail("libsodium");
    if (count == 3 && !strcmp(arguments[1], "identities"))
        return print_identities(strtoull(arguments[2], NULL, 10));
    if (count == 8 && !strcmp(arguments[1], "load")) return load(arguments);
    fprintf(stderr, "usage: handshakes identities COUNT\n       handshakes load ADDRESS PORT "
                    "RESPONDER_PUBLIC_KEY IDENTITIES SECONDS IN_FLIGHT\n");
    return 2;
}
