#include <libpq-fe.h>
#include <poll.h>

/// Waits until `descriptor` can be read, or until the time is over; a negative descriptor only
/// waits. poll(2)
static inline int branchline_wait_readable(int descriptor, int milliseconds) {
    struct pollfd entry = {.fd = descriptor, .events = POLLIN};
    return poll(&entry, 1, milliseconds);
}
