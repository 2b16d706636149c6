# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL for tests: a server of its own on a socket in a folder, which may be killed and started again."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import unittest

import harness


def there():
    """Was weir built with libpq?"""
    with open(os.path.join(harness.BUILD, 'config.h'), encoding='utf-8') as file:
        return '#define HAVE_LIBPQ 1' in file.read()


def _programs():
    """The folder with initdb and postgres, which Debian keeps out of $PATH; None: it is not installed."""
    found = sorted(glob.glob('/usr/lib/postgresql/*/bin/initdb'), key=lambda p: float(p.split('/')[4]))
    found = found[-1:] or list(filter(None, [shutil.which('initdb')]))
    return os.path.dirname(found[0]) if found else None


def _someone():
    """postgres does not run as root: the user that it runs as then."""
    if os.geteuid() != 0:
        return None
    for name in ('postgres', 'nobody'):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise unittest.SkipTest('no user that PostgreSQL could run as')


class Postgres:
    """`start`, or, if it is `empty`, `follow`, is called by the caller; `close` ends it and removes its folder. With `tcp` it listens on
    127.0.0.1, too, or on the address that is given. `settings`, such as fsync=on, are its own."""

    def __init__(self, tcp=False, empty=False, settings=()):
        programs = _programs()
        if not there():
            raise unittest.SkipTest('built without libpq')
        if programs is None or shutil.which('psql') is None:
            raise unittest.SkipTest('no PostgreSQL is installed (Debian: postgresql)')
        self.programs = programs
        self.user = _someone()
        self.process = None
        self.folder = tempfile.mkdtemp(prefix='weir-pg-', dir='/tmp')  # a socket's path is short
        self.data = os.path.join(self.folder, 'data')
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        os.chmod(self.folder, 0o755)
        self.address = '127.0.0.1' if tcp is True else tcp or ''
        self.port = harness.free_port() if tcp else 5432
        self.settings = ['shared_buffers=16MB', 'fsync=off', 'max_connections=100', *settings]  # the last of a name holds
        self.database = 'postgres'
        self.databases = 0
        if not empty:
            self._make()

    def _make(self):
        self._run('initdb', '-D', self.data, '-A', 'trust', '-U', 'weir', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync')
        if self.address:
            with open(os.path.join(self.data, 'pg_hba.conf'), 'a', encoding='ascii') as file:
                file.write('host all all samenet trust\n')

    @property
    def connect(self):
        return f'host={self.folder} port={self.port} user=weir dbname={self.database}'

    def new_database(self):
        """What is asked from now on is asked of another one."""
        self.database = 'postgres'
        self.databases += 1
        self.psql(f'CREATE DATABASE t{self.databases}')
        self.database = f't{self.databases}'

    def _as_user(self):
        if not self.user:
            return {}
        return {'user': self.user.pw_uid, 'group': self.user.pw_gid, 'extra_groups': []}

    def _run(self, program, *arguments):
        done = subprocess.run([os.path.join(self.programs, program), *arguments], stdout=subprocess.PIPE, cwd='/',
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=harness.LIMIT_S, **self._as_user())
        if done.returncode:
            raise AssertionError(f'{program}: {done.stdout}')

    def follow(self, primary):
        """It is made anew, as a standby of that one."""
        shutil.rmtree(self.data, ignore_errors=True)
        self._run('pg_basebackup', '-D', self.data, '-h', primary.folder, '-p', str(primary.port), '-U', 'weir', '-R', '-c', 'fast',
                  '--no-sync')
        self.database = primary.database
        return self.start()

    def start(self):
        with open(os.path.join(self.folder, 'log'), 'ab') as log:
            self.process = subprocess.Popen(
                [os.path.join(self.programs, 'postgres'), '-D', self.data, '-k', self.folder,
                 '-p', str(self.port), '-c', f'listen_addresses={self.address}',
                 *(part for setting in self.settings for part in ('-c', setting))],
                cwd='/', stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self._as_user())
        harness.wait_until(self.is_ready, 'PostgreSQL')
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.folder, 'log'), encoding='utf-8', errors='replace') as log:
                raise AssertionError(f'PostgreSQL has ended: {log.read()[-2000:]}')
        done = subprocess.run(['psql', '-XAtqc', 'SELECT 1', self.connect], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False)
        return done.returncode == 0

    def stop(self, how=signal.SIGQUIT):
        """SIGQUIT: at once, as a crash would; what was committed is found in its log at the next start."""
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(harness.LIMIT_S)
        self.process = None

    def restart(self):
        self.stop()
        self.start()

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cut(self):
        """A standby: it hears nothing more of its primary."""
        self.psql("ALTER SYSTEM SET primary_conninfo = ''")
        self.psql('SELECT pg_reload_conf()')
        harness.wait_until(lambda: self.psql('SELECT count(*) FROM pg_stat_wal_receiver') == ['0'], 'the end of its connection')

    def promote(self):
        self.psql("SELECT pg_promote(true, 120)")

    @contextlib.contextmanager
    def locked(self, table):
        """By another session, which reads and writes it alone."""
        with subprocess.Popen(['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', self.connect], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as psql:
            psql.stdin.write(f"BEGIN; LOCK TABLE {table}; SELECT 'locked';\n")
            psql.stdin.flush()
            try:
                if psql.stdout.readline() != 'locked\n':
                    raise AssertionError(f'{table} cannot be locked')
                yield
            finally:
                harness.close_pipe(psql.stdin)

    def psql(self, sql):
        """What the psql shell prints: lines of fields with | between them."""
        done = subprocess.run(['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', self.connect], input=sql, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=harness.LIMIT_S)
        if done.returncode:
            raise AssertionError(f'psql: {done.stderr}')
        return done.stdout.splitlines()
