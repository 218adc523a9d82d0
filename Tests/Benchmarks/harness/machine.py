"""What the machine is, and what it spends."""

import os
import platform

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# /proc/stat: user nice system idle iowait irq softirq steal; idle, iowait and steal are not work.
BUSY_COLUMNS = (0, 1, 2, 5, 6)
BYTES_PER_MB = 1e6


def busy_cpu_seconds():
    """Returns the CPU seconds that all programs and the kernel have spent since boot."""
    with open("/proc/stat", encoding="ascii") as stat:
        columns = [int(word) for word in stat.readline().split()[1:]]
    return sum(columns[i] for i in BUSY_COLUMNS) / TICKS_PER_SECOND


def process_cpu_seconds(pid):
    """Returns user and system time of a process with all its threads, in seconds."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        after_name = stat.read().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS_PER_SECOND


def thread_seconds(pid):
    """Returns how long all threads of a process have run, in seconds, to the nanosecond."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as statistics:
            total += int(statistics.read().split()[0])
    return total / 1e9


def resident_bytes(pid):
    """Returns the resident set of a process, in bytes."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def description():
    """Returns one line: processor, cores, memory and kernel."""
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, "
            f"Linux {platform.release()} {platform.machine()}")
