#!/usr/bin/env python3
# /ready says 200 while every POST is 507
# source: rustfs/rustfs#2658, getsentry/relay#2113; needs root (tmpfs)
from weircase import *
D = folder('ready-on-full-disk')
d = D + '.tmpfs'; os.makedirs(d, exist_ok=True); subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', d], check=True)
try:
    w = W(ONE.replace('300ms}', '300ms, segment_size: 1MiB, journal_limit: 8MiB, max_body: 1MiB}'), d + '/x').start(); feed(w, 3)
    f = open(d + '/ballast', 'wb')
    try:
        while 1: f.write(b'x' * 65536); f.flush()
    except OSError: pass
    for i in range(60):
        st, b = w.post('s', [{'ts': B + 100, 'k': 'k%d' % x} for x in range(5000)])
        if st == 507: break
    got = (st, w.get("/ready")[0])
    try: f.close()  # what a full disk left in its buffer
    except OSError: pass
    os.unlink(d + '/ballast'); w.stop()
finally: subprocess.run(['umount', '-l', d])
verdict((507, 503), got)
