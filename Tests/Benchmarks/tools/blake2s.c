#include "blake2s.h"

#include <string.h>

static const uint32_t INITIAL[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static const uint8_t ORDER[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint32_t rotate(uint32_t word, int by) { return (word >> by) | (word << (32 - by)); }

static void mix(uint32_t v[16], int a, int b, int c, int d, uint32_t x, uint32_t y) {
    v[a] += v[b] + x;
    v[d] = rotate(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = rotate(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 7);
}

static void compress(struct blake2s *hash, const uint8_t block[64], int is_last) {
    uint32_t m[16], v[16];
    memcpy(m, block, sizeof m);  // Little-endian machines only, as the tools' other messages.
    memcpy(v, hash->state, sizeof hash->state);
    memcpy(v + 8, INITIAL, sizeof INITIAL);
    v[12] ^= hash->counter[0];
    v[13] ^= hash->counter[1];
    if (is_last) v[14] = ~v[14];
    for (int round = 0; round < 10; round++) {
        const uint8_t *s = ORDER[round];
        mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
        mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
        mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
        mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
        mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
        mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
        mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
        mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
    }
    for (int i = 0; i < 8; i++) hash->state[i] ^= v[i] ^ v[i + 8];
}

static void advance(struct blake2s *hash, uint32_t by) {
    hash->counter[0] += by;
    if (hash->counter[0] < by) hash->counter[1]++;
}

void blake2s_start(struct blake2s *hash, size_t result_bytes, const void *key, size_t key_bytes) {
    memset(hash, 0, sizeof *hash);
    memcpy(hash->state, INITIAL, sizeof INITIAL);
    hash->state[0] ^= 0x01010000u ^ (uint32_t)(key_bytes << 8) ^ (uint32_t)result_bytes;
    hash->result_bytes = result_bytes;
    if (key_bytes) {
        memcpy(hash->buffer, key, key_bytes);
        hash->buffered = sizeof hash->buffer;
    }
}

void blake2s_update(struct blake2s *hash, const void *bytes, size_t count) {
    const uint8_t *next = bytes;
    while (count) {
        if (hash->buffered == sizeof hash->buffer) {  // Only when more follows: the last differs.
            advance(hash, sizeof hash->buffer);
            compress(hash, hash->buffer, 0);
            hash->buffered = 0;
        }
        size_t room = sizeof hash->buffer - hash->buffered;
        size_t part = count < room ? count : room;
        memcpy(hash->buffer + hash->buffered, next, part);
        hash->buffered += part;
        next += part;
        count -= part;
    }
}

void blake2s_finish(struct blake2s *hash, uint8_t *result) {
    advance(hash, (uint32_t)hash->buffered);
    memset(hash->buffer + hash->buffered, 0, sizeof hash->buffer - hash->buffered);
    compress(hash, hash->buffer, 1);
    memcpy(result, hash->state, hash->result_bytes);
}

void blake2s_pair(uint8_t result[HASH_BYTES], const void *left, size_t left_bytes,
                  const void *right, size_t right_bytes) {
    struct blake2s hash;
    blake2s_start(&hash, HASH_BYTES, NULL, 0);
    blake2s_update(&hash, left, left_bytes);
    blake2s_update(&hash, right, right_bytes);
    blake2s_finish(&hash, result);
}

// HMAC over left || right with a 32 byte key.
static void hmac(uint8_t result[HASH_BYTES], const uint8_t key[HASH_BYTES], const void *left,
                 size_t left_bytes, const void *right, size_t right_bytes) {
    uint8_t inner[64], outer[64], digest[HASH_BYTES];
    memset(inner, 0x36, sizeof inner);
    memset(outer, 0x5c, sizeof outer);
    for (int i = 0; i < HASH_BYTES; i++) {
        inner[i] ^= key[i];
        outer[i] ^= key[i];
    }
    struct blake2s hash;
    blake2s_start(&hash, HASH_BYTES, NULL, 0);
    blake2s_update(&hash, inner, sizeof inner);
    blake2s_update(&hash, left, left_bytes);
    blake2s_update(&hash, right, right_bytes);
    blake2s_finish(&hash, digest);
    blake2s_pair(result, outer, sizeof outer, digest, sizeof digest);
}

void blake2s_hkdf(uint8_t *first, uint8_t *second, uint8_t *third, const uint8_t key[HASH_BYTES],
                  const void *input, size_t input_bytes) {
    uint8_t secret[HASH_BYTES], output[HASH_BYTES], number = 1;
    hmac(secret, key, input, input_bytes, NULL, 0);
    hmac(output, secret, NULL, 0, &number, 1);
    memcpy(first, output, HASH_BYTES);
    if (!second) return;
    number = 2;
    hmac(output, secret, output, HASH_BYTES, &number, 1);
    memcpy(second, output, HASH_BYTES);
    if (!third) return;
    number = 3;
    hmac(output, secret, output, HASH_BYTES, &number, 1);
    memcpy(third, output, HASH_BYTES);
}
