#ifndef BRANCHLINE_CBLAKE2S_H
#define BRANCHLINE_CBLAKE2S_H

#include <stdint.h>

/// Hashes that are computed side by side.
#define BLAKE2S_LANES 16

/// How many of the lanes one vector of this processor takes: 4, 8 or 16.
int blake2s_vector_width(void);

/// Mixes one 64-byte block into BLAKE2S_LANES states.
///
/// Written in C because Swift has no way to compile one function for several processors.
///
/// - states: eight words of each state, those of one place beside each other, in the machine's byte
///   order.
/// - consumed: bytes hashed including this block, without padding.
/// - width: what blake2s_vector_width gives, or less.
///
/// Source: RFC 7693, section 3.2.
void blake2s_compress_lanes(
    uint32_t *states, const uint8_t *block, uint64_t consumed, int is_last, int width);

#endif
