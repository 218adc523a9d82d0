// A program that chooses the queue of a multi-queue TUN device by the destination of a packet: the
// longest prefix of a table that contains it names the queue, and queue 0 takes the rest.
//
// Source: Documentation/bpf/standardization/instruction-set.rst, map_lpm_trie.rst; drivers/net/tun.c.
#define _GNU_SOURCE
#include "CLinux.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static_assert(sizeof(struct clinux_steering_key) == 20, "the kernel's layout of a trie's key");

static int bpf(int command, union bpf_attr *attributes) {
    long value = syscall(SYS_bpf, command, attributes, sizeof *attributes);
    return value < 0 ? -errno : (int)value;
}

int clinux_steering_table(unsigned int capacity) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_type = BPF_MAP_TYPE_LPM_TRIE;
    attributes.key_size = sizeof(struct clinux_steering_key);
    attributes.value_size = sizeof(uint32_t);
    attributes.max_entries = capacity;
    attributes.map_flags = BPF_F_NO_PREALLOC;
    return bpf(BPF_MAP_CREATE, &attributes);
}

int clinux_steering_set(int table, const struct clinux_steering_key *key, uint32_t queue) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_fd = (uint32_t)table;
    attributes.key = (uint64_t)(uintptr_t)key;
    attributes.value = (uint64_t)(uintptr_t)&queue;
    return bpf(BPF_MAP_UPDATE_ELEM, &attributes);
}

int clinux_steering_remove(int table, const struct clinux_steering_key *key) {
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_fd = (uint32_t)table;
    attributes.key = (uint64_t)(uintptr_t)key;
    return bpf(BPF_MAP_DELETE_ELEM, &attributes);
}

// ---- The program ----

#define INSTRUCTION(CODE, DESTINATION, SOURCE, OFFSET, IMMEDIATE)                                  \
    ((struct bpf_insn){.code = (CODE), .dst_reg = (DESTINATION), .src_reg = (SOURCE),             \
                       .off = (OFFSET), .imm = (IMMEDIATE)})
// r0 = the packet's bytes at OFFSET as a number; beyond the packet the program ends with 0.
#define LOAD(SIZE, OFFSET) INSTRUCTION(BPF_LD | BPF_ABS | (SIZE), 0, 0, 0, OFFSET)
#define COPY(REGISTER, SOURCE) INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_X, REGISTER, SOURCE, 0, 0)
#define ALU(OPERATION, REGISTER, VALUE)                                                            \
    INSTRUCTION(BPF_ALU64 | (OPERATION) | BPF_K, REGISTER, 0, 0, VALUE)
#define JUMP(CONDITION, REGISTER, VALUE, OVER)                                                     \
    INSTRUCTION(BPF_JMP | (CONDITION) | BPF_K, REGISTER, 0, OVER, VALUE)
// The key lies on the stack; AT is an offset in it.
#define KEY_AT(AT) ((AT) - (int)sizeof(struct clinux_steering_key))
#define STORE(AT, VALUE) INSTRUCTION(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, KEY_AT(AT), VALUE)
#define STORE_PACKET_WORD(AT, OFFSET)                                                              \
    LOAD(BPF_W, OFFSET), INSTRUCTION(BPF_ALU | BPF_END | BPF_TO_BE, 0, 0, 0, 32),                  \
        INSTRUCTION(BPF_STX | BPF_MEM | BPF_W, BPF_REG_10, 0, KEY_AT(AT), 0)

static int load_program(int table) {
    const struct bpf_insn program[] = {
        COPY(BPF_REG_6, BPF_REG_1),  // Where loads from the packet expect it.
        STORE(0, 128),
        LOAD(BPF_B, 0),
        ALU(BPF_RSH, 0, 4),
        JUMP(BPF_JEQ, 0, 6, 8),
        JUMP(BPF_JNE, 0, 4, 27),
        // IPv4, as ::ffff:0:0/96.
        STORE(4, 0),
        STORE(8, 0),
        STORE(12, (int)htonl(0xffff)),
        STORE_PACKET_WORD(16, 16),
        JUMP(BPF_JA, 0, 0, 12),
        // IPv6.
        STORE_PACKET_WORD(4, 24),
        STORE_PACKET_WORD(8, 28),
        STORE_PACKET_WORD(12, 32),
        STORE_PACKET_WORD(16, 36),
        // Look it up.
        INSTRUCTION(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, table),
        INSTRUCTION(0, 0, 0, 0, 0),
        COPY(BPF_REG_2, BPF_REG_10),
        ALU(BPF_ADD, BPF_REG_2, KEY_AT(0)),
        INSTRUCTION(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
        JUMP(BPF_JEQ, 0, 0, 2),
        INSTRUCTION(BPF_LDX | BPF_MEM | BPF_W, 0, 0, 0, 0),
        INSTRUCTION(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
        ALU(BPF_MOV, 0, 0),
        INSTRUCTION(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
    };
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
    attributes.insns = (uint64_t)(uintptr_t)program;
    attributes.insn_cnt = sizeof program / sizeof *program;
    attributes.license = (uint64_t)(uintptr_t)"Dual BSD/GPL";
    return bpf(BPF_PROG_LOAD, &attributes);
}

int clinux_tun_steer(int descriptor, int table) {
    int program = load_program(table);
    if (program < 0) return program;
    // TUNSETSTEERINGEBPF. The device keeps the program, and that the table.
    int status = ioctl(descriptor, _IOR('T', 224, int), &program) < 0 ? -errno : 0;
    close(program);
    return status;
}
