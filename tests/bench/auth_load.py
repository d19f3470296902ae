#!/usr/bin/env python3
"""Logins over the Dovecot auth protocol, straight at the socket that an SMTP server asks.

  auth_load.py --target dovecot,SOCKET,PID+PID --target facteur,SOCKET,PID [--runs 3] [--secs 3] [--user user%d@example.test]

Servers take turns. First a client that waits for each answer, then one with --depth logins under way. Ten users in turns; CPU is that of all
processes below the given ones.
"""
import argparse, base64, os, socket, time
from common import busy, cpu, med, say

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument('--target', action='append', required=True)
p.add_argument('--runs', type=int, default=3)
p.add_argument('--secs', type=float, default=3)
p.add_argument('--depth', type=int, default=100)
p.add_argument('--user', default='user%d@example.test')
p.add_argument('--password', default='secret')
p.add_argument('--scratch')
a = p.parse_args()


class Client:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(30)
        self.s.connect(path)
        self.s.sendall(b'VERSION\t1\t1\nCPID\t%d\n' % os.getpid())
        self.rest = b''
        while not self.rest.endswith(b'DONE\n'):
            self.rest += self.s.recv(65536)
        self.rest, self.id = b'', 0

    def ask(self, count):
        out = []
        for _ in range(count):
            self.id += 1
            resp = base64.b64encode(b'\0%s\0%s' % ((a.user % (self.id % 10)).encode(), a.password.encode()))
            out.append(b'AUTH\t%d\tPLAIN\tservice=smtp\tsecured\tresp=%s\n' % (self.id, resp))
        self.s.sendall(b''.join(out))

    def answers(self):
        """At least one; how many logins succeeded."""
        while True:
            data = self.rest + self.s.recv(262144)
            lines, _, self.rest = data.rpartition(b'\n')
            if lines:
                got = lines.split(b'\n')
                bad = [line for line in got if not line.startswith(b'OK\t')]
                assert not bad, bad[0]
                return len(got)

    def run(self, depth):
        self.ask(depth)
        done, end = 0, time.time() + a.secs
        while True:
            got = self.answers()
            done += got
            if time.time() >= end:
                break
            self.ask(got)
        return done


def main():
    targets = []
    for text in a.target:
        name, path, pids = text.split(',')
        targets.append((name, path, [int(pid) for pid in pids.split('+')]))
    for what, depth in (('one by one', 1), (f'{a.depth} under way', a.depth)):
        rows = {name: [] for name, _, _ in targets}
        for _ in range(a.runs):
            for name, path, pids in targets:
                client = Client(path)
                c0, b0, t0 = cpu(pids), busy(), time.time()
                done = client.run(depth)
                seconds, used = time.time() - t0, cpu(pids) - c0
                rows[name].append((done / seconds, used * 1e6 / done, (busy() - b0 - used) / seconds))
        for name, row in rows.items():
            rate, used, others = (med([r[i] for r in row]) for i in range(3))
            say(f'{what:16} {name:10} {rate:9.0f}/s   server CPU {used:7.1f} us   other CPU {others:.2f}')


main()
