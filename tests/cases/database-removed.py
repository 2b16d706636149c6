#!/usr/bin/env python3
# database removed under a running server: durable answers, /ready 200, the journal is trimmed, results are lost
# source: WiseLibs/better-sqlite3#1237, objectstack-ai/objectstack#15374
from weircase import *
D = folder('database-removed')
w = W(ONE.replace('300ms}', '300ms, segment_size: 1MiB}'), D).start()
a = feed(w, 80, 0, 3000); time.sleep(1.5)
for x in ('', '-wal', '-shm'):
    if os.path.exists(w.db + x): os.unlink(w.db + x)
b = feed(w, 80, 80, 3000); time.sleep(1.5); ready = w.get('/ready')[0]
w.stop(); w.start(); time.sleep(1.5); n = w.sql('select sum(count) from p')['rows'][0][0]; w.stop()
print(open(w.log).read())
print('/ready %d, %d of %d after a restart' % (ready, n, a + b - 3000))
verdict(True, ready != 200 or n == a + b - 3000)
