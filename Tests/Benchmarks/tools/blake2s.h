// BLAKE2s as WireGuard's handshake uses it: unkeyed, keyed with 16 byte results, HMAC and HKDF.
// Source: RFC 7693; RFC 2104; RFC 5869.
#ifndef BENCHMARK_BLAKE2S_H
#define BENCHMARK_BLAKE2S_H

#include <stddef.h>
#include <stdint.h>

enum { HASH_BYTES = 32, MAC_BYTES = 16 };

struct blake2s {
    uint32_t state[8], counter[2];
    uint8_t buffer[64];
    size_t buffered, result_bytes;
};

void blake2s_start(struct blake2s *hash, size_t result_bytes, const void *key, size_t key_bytes);
void blake2s_update(struct blake2s *hash, const void *bytes, size_t count);
void blake2s_finish(struct blake2s *hash, uint8_t *result);

// HASH(left || right); `result` may be `left`.
void blake2s_pair(uint8_t result[HASH_BYTES], const void *left, size_t left_bytes,
                  const void *right, size_t right_bytes);

// HKDF with `outputs` results of 32 bytes each (1 to 3); results may overlay the chaining key.
void blake2s_hkdf(uint8_t *first, uint8_t *second, uint8_t *third, const uint8_t key[HASH_BYTES],
                  const void *input, size_t input_bytes);

#endif
