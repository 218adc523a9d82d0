"""Runs a program to which one system call answers EPERM: sandbox.py NUMBER PROGRAM ARGUMENT...

441 is epoll_pwait2, by the same number on every architecture (Linux 5.11).
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL_WITH_EPERM = 0x7FFF_0000, 0x0005_0001


def refuse(number: int):
    """Installs a filter of classic BPF (seccomp(2)); the call's number is its first word."""
    instructions = [
        (LOAD_WORD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, number),
        (RETURN, 0, 0, FAIL_WITH_EPERM), (RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *instruction) for instruction in instructions))
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for words in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program)):
        if libc.prctl(*words) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


refuse(int(sys.argv[1]))
os.execvp(sys.argv[2], sys.argv[2:])
