# SPDX-License-Identifier: Apache-2.0
"""One input, many ways in: 1 and 4 workers, small and large requests, a server and `weir run`."""

import hashlib
import os
import sqlite3

import harness

WORKERS = (1, 4)


def config(stream, pipeline):
    """A configuration with the pipeline twice: results_1 with one worker, results_4 with four.
    `stream` and `pipeline` are YAML, indented by 4."""
    text = 'server: {listen: {listen}, database: {folder}/weir.db}\nstreams:\n  input:\n' + stream
    text += 'pipelines:\n'
    for workers in WORKERS:
        text += f'  results_{workers}:\n    from: input\n    workers: {workers}\n{pipeline}'
    return text


def by_server(text, folder, post, until_us):
    """Starts a server, lets post(server) post everything, waits for the watermark."""
    os.mkdir(folder)
    with harness.Server(text, folder=folder) as server:
        post(server)
        for workers in WORKERS:
            server.wait_watermark(f'results_{workers}', until_us)
        late = server.metric('weir_pipeline_late_total')
        if late != 0:
            raise AssertionError(f'{late} late events')
    return os.path.join(folder, 'weir.db')


def by_run(text, folder, files):
    os.mkdir(folder)
    path = os.path.join(folder, 'weir.yaml')
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
    done = harness.weir('run', '-c', path, '--stream', 'input', *files, cwd=folder, limit_s=600)
    if done.returncode != 0:
        raise AssertionError(f'weir run ended with {done.returncode}: {done.stderr}')
    return os.path.join(folder, 'weir.db')


def digest(database, sql):
    """A hash over all rows: types, and doubles to the last bit (repr is exact)."""
    connection = sqlite3.connect(f'file:{database}?mode=ro', uri=True, timeout=harness.LIMIT_S)
    sha = hashlib.sha256()
    n = 0
    for row in connection.execute(sql):
        sha.update(repr(row).encode())
        n += 1
    connection.close()
    return n, sha.hexdigest()


def first_differences(one, two, sql, limit=5):
    """Rows that only one of two databases has, to be shown when the digests differ."""
    a, b = (set(harness.read_rows(path, sql)) for path in (one, two))
    return sorted(a - b, key=repr)[:limit], sorted(b - a, key=repr)[:limit]
