#define _GNU_SOURCE
#include "CTestSupport.h"

#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>

int test_unshare_network_namespace(void) { return unshare(CLONE_NEWNET); }

int test_tun_set_persistent(int descriptor, int persistent) {
    return ioctl(descriptor, TUNSETPERSIST, (unsigned long)persistent);
}
