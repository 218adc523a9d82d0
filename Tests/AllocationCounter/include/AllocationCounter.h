#ifndef BRANCHLINE_ALLOCATION_COUNTER_H
#define BRANCHLINE_ALLOCATION_COUNTER_H

/// Heap allocations of the calling thread since it started, in a program that this is linked into.
unsigned long allocations_of_this_thread(void);
/// Bytes asked for by them.
unsigned long allocated_bytes_of_this_thread(void);

#endif
