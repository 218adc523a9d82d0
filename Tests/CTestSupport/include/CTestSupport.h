/// System calls that only tests make and that Swift cannot import: 0, or -1 with errno.
#ifndef BRANCHLINE_CTESTSUPPORT_H
#define BRANCHLINE_CTESTSUPPORT_H

/// unshare with CLONE_NEWNET.
int test_unshare_network_namespace(void);
/// TUNSETPERSIST.
int test_tun_set_persistent(int descriptor, int persistent);

#endif
