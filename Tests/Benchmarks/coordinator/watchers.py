"""Drives the load tool `watchers`: many watch streams in one process."""

import os
import threading

from harness.lab import LabError, wait_until


class Watchers:
    """Streams of many nodes; arrival times of changes by number, in nanoseconds since the epoch."""

    def __init__(self, lab, tools, service, nodes, patience_s=300):
        path = lab.path(f"secrets-{lab.unique_name()}")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(node["secret"] + "\n" for node in nodes)
        os.chmod(path, 0o600)
        self.count = len(nodes)
        self.arrivals = {}
        self.connected_s, self.lost = None, 0
        self.process = lab.start_with_input(
            service.namespace, [os.path.join(tools, "watchers"), service.address,
                                str(service.port), path])
        threading.Thread(target=self._read, daemon=True).start()
        wait_until(lambda: self.connected_s is not None or self.lost, "all watchers", patience_s)
        if self.lost:
            raise LabError(f"{self.lost} of {self.count} watchers were turned away")

    def _read(self):
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "change":
                self.arrivals.setdefault(int(words[1]), {})[int(words[2])] = int(words[3])
            elif words[0] == "connected":
                self.connected_s = float(words[2])
            elif words[0] == "lost":
                self.lost += 1

    def newest(self):
        """Returns the number of the newest change that any stream has brought."""
        return max(self.arrivals, default=0)

    def await_change(self, after, patience_s=30):
        """Waits until every stream has brought a change newer than `after`.

        Returns its number and the arrival times in seconds since the epoch.
        """
        def complete():
            number = self.newest()
            return number > after and len(self.arrivals[number]) == self.count

        wait_until(complete, f"a change at {self.count} watchers", patience_s)
        number = self.newest()
        return number, [at / 1e9 for at in self.arrivals[number].values()]
