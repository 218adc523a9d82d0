// Counts heap allocations of the program that it is linked into or preloaded into, by standing in
// front of glibc's.
//
// Linked in, it tells a thread its own count. Preloaded, it keeps the count of calls in the first 8
// bytes of the file named by ALLOCATION_COUNT, which a test reads while the process runs; the next 8
// bytes hold the bytes asked for. Frees are not counted: what is freed was allocated.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "include/AllocationCounter.h"

// glibc's own entry points, so that nothing has to be looked up while the process starts.
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static _Atomic unsigned long early[2];
static _Atomic unsigned long *counts = early;
// This model needs no allocation when a thread first uses it.
static _Thread_local unsigned long own[2] __attribute__((tls_model("initial-exec")));

unsigned long allocations_of_this_thread(void) { return own[0]; }
unsigned long allocated_bytes_of_this_thread(void) { return own[1]; }

static void count(size_t bytes) {
    own[0]++;
    own[1] += bytes;
    atomic_fetch_add_explicit(&counts[0], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counts[1], bytes, memory_order_relaxed);
}

__attribute__((constructor)) static void share_counts(void) {
    const char *path = getenv("ALLOCATION_COUNT");
    int file = path ? open(path, O_RDWR | O_CREAT, 0600) : -1;
    if (file < 0 || ftruncate(file, 4096) != 0) return;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) counts = page;
}

void *malloc(size_t bytes) {
    count(bytes);
    return __libc_malloc(bytes);
}

void *calloc(size_t items, size_t bytes) {
    count(items * bytes);
    return __libc_calloc(items, bytes);
}

void *realloc(void *old, size_t bytes) {
    count(bytes);
    return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t bytes) {
    count(bytes);
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    count(bytes);
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **result, size_t alignment, size_t bytes) {
    count(bytes);
    void *made = __libc_memalign(alignment, bytes);
    if (!made) return ENOMEM;
    *result = made;
    return 0;
}
