#include "CBlake2s.h"

static const uint32_t start[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const uint8_t schedule[10][16] = {
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

#define ROTATED(word, count) ((word) >> (count) | (word) << (32 - (count)))

/* The mixing function G over columns a, b, c, d of the working rows. */
#define MIX(a, b, c, d, x, y)                                                                      \
    v[a] += v[b] + (x);                                                                            \
    v[d] = ROTATED(v[d] ^ v[a], 16);                                                               \
    v[c] += v[d];                                                                                  \
    v[b] = ROTATED(v[b] ^ v[c], 12);                                                               \
    v[a] += v[b] + (y);                                                                            \
    v[d] = ROTATED(v[d] ^ v[a], 8);                                                                \
    v[c] += v[d];                                                                                  \
    v[b] = ROTATED(v[b] ^ v[c], 7);

/* A function that computes `width` lanes at a time, in vectors of the processor `target` names. */
#define COMPRESS(name, width, target)                                                              \
    typedef uint32_t name##_words                                                                  \
        __attribute__((vector_size(4 * (width)), aligned(4), may_alias));                          \
    target static void name(uint32_t *states, const uint32_t *m, const uint32_t *counter)          \
    {                                                                                              \
        for (int lane = 0; lane < BLAKE2S_LANES; lane += (width)) {                                \
            name##_words v[16];                                                                    \
            _Pragma("clang loop unroll(full)") for (int i = 0; i < 8; i++)                         \
            {                                                                                      \
                v[i] = *(const name##_words *)(states + i * BLAKE2S_LANES + lane);                 \
                v[i + 8] = (name##_words){0} + (i < 4 ? start[i] : start[i] ^ counter[i - 4]);     \
            }                                                                                      \
            _Pragma("clang loop unroll(full)") for (int i = 0; i < 10; i++)                        \
            {                                                                                      \
                const uint8_t *s = schedule[i];                                                    \
                MIX(0, 4, 8, 12, m[s[0]], m[s[1]])                                                 \
                MIX(1, 5, 9, 13, m[s[2]], m[s[3]])                                                 \
                MIX(2, 6, 10, 14, m[s[4]], m[s[5]])                                                \
                MIX(3, 7, 11, 15, m[s[6]], m[s[7]])                                                \
                MIX(0, 5, 10, 15, m[s[8]], m[s[9]])                                                \
                MIX(1, 6, 11, 12, m[s[10]], m[s[11]])                                              \
                MIX(2, 7, 8, 13, m[s[12]], m[s[13]])                                               \
                MIX(3, 4, 9, 14, m[s[14]], m[s[15]])                                               \
            }                                                                                      \
            _Pragma("clang loop unroll(full)") for (int i = 0; i < 8; i++)                         \
            {                                                                                      \
                *(name##_words *)(states + i * BLAKE2S_LANES + lane) ^= v[i] ^ v[i + 8];           \
            }                                                                                      \
        }                                                                                          \
    }

COMPRESS(compress4, 4, )
#if defined(__x86_64__)
COMPRESS(compress8, 8, __attribute__((target("avx2"))))
COMPRESS(compress16, 16, __attribute__((target("avx512f"))))
#endif

int blake2s_vector_width(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return 16;
    if (__builtin_cpu_supports("avx2")) return 8;
#endif
    return 4;
}

void blake2s_compress_lanes(
    uint32_t *states, const uint8_t *block, uint64_t consumed, int is_last, int width)
{
    uint32_t m[16];
    for (int i = 0; i < 16; i++) {
        const uint8_t *byte = block + 4 * i;
        m[i] = (uint32_t)byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16
            | (uint32_t)byte[3] << 24;
    }
    const uint32_t counter[4] = {
        (uint32_t)consumed, (uint32_t)(consumed >> 32), is_last ? 0xffffffff : 0, 0,
    };
#if defined(__x86_64__)
    if (width >= 16) {
        compress16(states, m, counter);
        return;
    }
    if (width >= 8) {
        compress8(states, m, counter);
        return;
    }
#else
    (void)width;
#endif
    compress4(states, m, counter);
}
