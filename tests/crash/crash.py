# SPDX-License-Identifier: Apache-2.0
"""The crash test: a server under load is killed again and again, at random moments and at named points
of its code; what it has then must be what its clients know to have been taken, event by event.

    crash.py [--rounds N] [--seed S] [--first R] [--jobs N] [--power-loss [--any-names]] [--no-kill] [--keep]
             [--folder FOLDER] [--self-test]

A chain of rounds goes on with one database and one journal. A round: load, kill, start again (and be
killed at that, too), load, ...; at its end every request without an answer is sent again, all windows of
the round are closed, and all tables compared. README.md beside this file says what is proved."""

import argparse
import collections
import concurrent.futures
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), 'system')]

import harness  # noqa: E402
import load  # noqa: E402
import model  # noqa: E402
import powerloss  # noqa: E402
import setting  # noqa: E402
from setting import CHAIN_US, DAY_US, ERA_US, EXPIRE_US, T0_US  # noqa: E402

CHAIN = 10          # rounds that go on with one database
WORKER_KILLS = 2    # in a life: the third at the same rows would be taken for their fault
# Said as errors where a worker is killed: that of a pipeline that runs, one that a reload has just made to try whether it can
# begin, or one made for the same when the pipeline of another is started again.
KILLED = re.compile(r"""msg="(pipeline '(?P<again>\w+)' is started again: analyzer '\w+'|SIGHUP: .*|"""
                    r"pipeline '\w+' cannot be started again yet: .*): its process was killed by signal 9 \(Killed\)")
EXCHANGED = re.compile(r"""msg="pipeline '(\w+)' is exchanged""")
LOAD_S = 1.2        # of load until a kill that has not come by then
GONE_S = harness.LIMIT_S / 4  # for the kernel to end a process whose sockets are gone
LINES = 100         # of the log of a server that ended as it should not: a sanitizer's report has no fewer
JOURNAL_SEGMENTS = 8  # of a stream, when nothing is waited for


def fault_points():
    """The names in the source: new ones are used by themselves."""
    names = set()
    for folder, _, files in os.walk(os.path.join(harness.SOURCE, 'server')):
        for name in files:
            if name.endswith('.c'):
                with open(os.path.join(folder, name), encoding='utf-8') as file:
                    names.update(re.findall(r'fault_point\("(\w+)"\)', file.read()))
    return sorted(names)


def faults_said(log):
    """Its lines that are errors, but for those of workers that this test has killed."""
    return [line for line in log if ' level=error ' in line and not KILLED.search(line)]


def waits_for_restart(log):
    """Whether at its end a pipeline whose worker was killed had not yet been started again: a stop then says 1."""
    waiting = set()
    for line in log:
        killed, exchanged = KILLED.search(line), EXCHANGED.search(line)
        if killed and killed['again']:
            waiting.add(killed['again'])
        if exchanged:
            waiting.discard(exchanged[1])
    return bool(waiting)


class Failed(Exception):
    """The server did what it must not, beside its tables: ended by itself, did not start."""


class Process(harness.Server):
    """The server, which may be killed at any moment, also while it starts."""

    def __init__(self, config, folder, **env):
        super().__init__(config, folder=folder, **env)
        self.killed = threading.Event()
        self.errors = []  # lines of its log
        self.said = []    # all lines, of the process before

    def reload(self, config):
        """The new file is there as a whole, whenever the server may read it."""
        with open(self.path + '.new', 'w', encoding='utf-8') as file:
            file.write(config.replace('{folder}', self.folder).replace('{listen}', '127.0.0.1:0'))
        os.rename(self.path + '.new', self.path)
        self.process.send_signal(signal.SIGHUP)

    def kill_now(self):
        self.killed.set()
        self.process.kill()

    def gone(self):
        """Whether it has ended, or is about to: a socket is gone a moment before its process."""
        try:
            self.process.wait(GONE_S)
            return True
        except subprocess.TimeoutExpired:
            return False

    def begin(self, kill_after_s=None, **env):
        """Starts it. False: it was killed before it was ready."""
        self.kill()
        self.said = []
        self.killed.clear()
        timer = None
        try:
            self.start_process(**env)
            if kill_after_s is not None:
                timer = threading.Timer(kill_after_s, self.kill_now)
                timer.start()
            self.wait_ready()
            return True
        except (AssertionError, OSError, harness.http.client.HTTPException) as error:
            if timer is None and 'WEIR_FAULT' not in env or self.process.poll() == 0:
                raise Failed(f'no start: {error}') from error
            if not self.gone():
                raise Failed(f'not ready: {error}') from error
            self.check_end()
            return False

    def check_end(self, may_stop=False):
        """It must have been ended by a kill, not by a fault of its own; or in good order, if told to."""
        status = self.process.wait(load.TIMEOUT_S)
        self.kill()
        stopped = may_stop and (status == 0 or status == 1 and waits_for_restart(self.said))
        if status != -9 and not stopped:
            raise Failed(f'the server ended with {status}:\n{"".join(self.said[-LINES:])}')

    def kill(self):
        super().kill()
        if self.log:  # for whoever looks into a folder that failed
            self.errors += faults_said(self.log)
            with open(os.path.join(self.folder, 'server.log'), 'a', encoding='utf-8') as file:
                file.writelines([*self.log, f'-- ended with {self.process.returncode}\n'])
            self.said, self.record = self.log, harness.Log()


def workers_of(pid):
    """Processes of analyzers, which the server has started."""
    found = []
    for child in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{child}/stat', encoding='ascii', errors='replace') as file:
                parent = int(file.read().rsplit(')', 1)[1].split()[1])
            with open(f'/proc/{child}/cmdline', encoding='ascii', errors='replace') as file:
                if parent == pid and 'analyzer-process' in file.read().split('\0'):
                    found.append(int(child))
        except (OSError, IndexError):
            pass  # it has just ended
    return sorted(found)


class Plan:
    """How a life of the server ends."""

    def __init__(self, dice, points):
        self.fault = self.after_s = None
        self.stop_s = dice.random() ** 2 * 0.3 if dice.random() < 0.15 else None  # SIGTERM so long before
        # SIGHUP at these times of the load, each with other settings.
        self.reloads_s = [dice.random() ** 2 * LOAD_S for _ in range(dice.choice((0, 0, 1, 3)))]
        self.worker_kills_s = [dice.random() * LOAD_S for _ in range(dice.randint(0, WORKER_KILLS))]
        if points and dice.random() < 0.6:
            count = 1 if dice.random() < 0.25 else int(2 ** (dice.random() * 8))
            self.fault = f'{dice.choice(points)}:{count}'
        elif dice.random() < 0.25:
            self.after_s = dice.random() * 0.05  # at the start
        else:
            self.after_s = 0.05 + dice.random() * LOAD_S

    def __str__(self):
        text = self.fault or f'{self.after_s:.3f} s'
        if self.reloads_s:
            text += ' with reloads'
        return text if self.stop_s is None else f'{text}, stopped, {self.stop_s:.3f} s'


class Chain:
    """Rounds on one folder."""

    def __init__(self, options, known, points, first):
        self.options, self.known, self.points = options, known, points
        self.folder = tempfile.mkdtemp(prefix='weir-crash-', dir=options.folder)
        self.ledger = load.Ledger()
        self.loss = powerloss.Recorder(self.folder) if options.power_loss else None
        env = self.loss.environment() if self.loss else {}
        setting.write_python(self.folder)
        self.server = Process(setting.config(known), self.folder, **env)
        setting.fill(self.server.database)
        self.checker = model.Checker(setting.pipelines(known), self.server.database)
        self.first, self.number = first, first
        self.kills, self.losses = collections.Counter(), collections.Counter()
        self.plans = ''
        if known['webhooks']:
            known['webhooks'].begin()

    # ---- A round ---------------------------------------------------------------------------------

    def round(self, last):
        """Its verdict. `last`: no other will go on with this folder."""
        dice = random.Random(f'{self.options.seed}/{self.number}')
        start_us = T0_US + (self.number - self.first) * ERA_US
        self.ledger.begin_round()
        clock = load.Clock(start_us + DAY_US, start_us + ERA_US - EXPIRE_US)
        plans = []
        verdict = model.Verdict()
        try:
            for _ in range(0 if self.options.no_kill else dice.randint(1, 4)):
                plans.append(Plan(dice, self.points))
                self.life(dice, clock, plans[-1])
            self.final(dice, clock, start_us, last, verdict)
        except (Failed, AssertionError, OSError, sqlite3.Error, subprocess.SubprocessError,
                harness.http.client.HTTPException) as error:
            verdict.fault(f'{type(error).__name__}: {error}')
        finally:
            self.server.kill()
        for text in self.ledger.faults + self.server.errors:
            verdict.fault(text)
        self.ledger.faults.clear()
        self.server.errors.clear()
        self.ledger.forget_bodies()
        self.number += 1
        self.plans = ', '.join(map(str, plans))
        return verdict

    def life(self, dice, clock, plan):
        """From a start to a kill."""
        env = {'WEIR_FAULT': plan.fault} if plan.fault else {}
        if self.server.begin(plan.after_s if plan.stop_s is None else None, **env):
            stop, clients = self.clients(dice, clock)
            clients += self.reloads(dice, plan, stop)
            clients += self.worker_kills(dice, plan.worker_kills_s, stop)
            self.end_of_life(plan)
            stop.set()
            for client in clients:
                client.join()
            self.server.check_end(may_stop=plan.stop_s is not None)
        else:
            self.kills['at the start'] += 1
        self.kills[plan.fault.split(':')[0] if plan.fault and not self.server.killed.is_set()
                   else 'any moment'] += 1
        if self.loss and dice.random() < 0.8:
            self.kills['power lost'] += 1
            self.losses += self.loss.play(dice.getrandbits(64), self.options.any_names)

    def reloads(self, dice, plan, stop):
        """A thread that exchanges pipelines while clients send, each for one that gives the same results."""
        def run():
            for after_s, config in zip(times, configs):
                if stop.wait(max(began + after_s - time.monotonic(), 0)):
                    break
                self.server.reload(config)
                self.kills['reloads'] += 1
        began, times, pipelines = time.monotonic(), sorted(plan.reloads_s), self.checker.pipelines
        configs = [setting.config(self.known, {p.name: dice.randint(1, 3) for p in pipelines if dice.random() < 0.3})
                   for _ in times]
        threads = [threading.Thread(target=run, daemon=True)] if times else []
        for thread in threads:
            thread.start()
        return threads

    def worker_kills(self, dice, times_s, stop):
        """A thread that kills one of the processes of analyzers at each of these times."""
        def run():
            for after_s in sorted(times_s):
                if stop.wait(max(began + after_s - time.monotonic(), 0)):
                    break
                found = workers_of(process.pid)
                if not found:
                    continue
                try:
                    os.kill(own.choice(found), signal.SIGKILL)
                    self.kills['a worker'] += 1
                except ProcessLookupError:
                    pass  # it has ended with the server, or was exchanged
        began, process, own = time.monotonic(), self.server.process, random.Random(dice.getrandbits(64))
        threads = [threading.Thread(target=run, daemon=True)] if times_s else []
        for thread in threads:
            thread.start()
        return threads

    def end_of_life(self, plan):
        """Waits for the kill; if the named point is not passed that often, kills it from outside."""
        process = self.server.process
        if plan.stop_s is not None:
            self.ended_within(plan.after_s or LOAD_S / 2)
            process.terminate()
        limit_s = plan.stop_s if plan.stop_s is not None else LOAD_S if plan.fault else load.TIMEOUT_S
        if not self.ended_within(limit_s):
            self.server.kill_now()
        process.wait(load.TIMEOUT_S)

    def ended_within(self, limit_s):
        try:
            self.server.process.wait(limit_s)
            return True
        except subprocess.TimeoutExpired:
            return False

    def clients(self, dice, clock):
        stop, threads = threading.Event(), []
        for _ in range(dice.randint(4, 8)):
            client = load.Client(self.ledger, clock, self.server, random.Random(dice.getrandbits(64)),
                                 self.known, self.known['Idempotency-Key'] or not self.options.no_kill)
            threads.append(threading.Thread(target=client.run, args=(stop,), daemon=True))
            threads[-1].start()
        return stop, threads

    # ---- Its end ---------------------------------------------------------------------------------

    def final(self, dice, clock, start_us, last, verdict):
        """A life without a kill: what is open is finished, and everything compared."""
        self.server.begin()
        stop, clients = self.clients(dice, clock)
        clients += self.worker_kills(dice, [] if self.options.no_kill else [dice.random() * 0.3], stop)
        stop.wait(dice.random() * (LOAD_S if self.options.no_kill else 0.3))
        stop.set()
        for thread in clients:
            thread.join()
        client = load.Client(self.ledger, clock, self.server, dice, self.known)
        client.finish()
        end_us = start_us + ERA_US
        self.close_windows(client, end_us + DAY_US // 2, end_us)
        if dice.random() < 0.5 and not self.options.no_kill:
            self.server.stop()
            self.server.begin()
        verdict.add(self.checker.era(self.ledger.requests, start_us))
        if last:
            self.close_windows(client, T0_US + CHAIN_US + DAY_US, T0_US + CHAIN_US)
            verdict.add(self.checker.era(self.ledger.requests, end_us))
            verdict.add(self.checker.chain(T0_US + CHAIN_US))
        if self.known['webhooks']:
            self.known['webhooks'].check(self.server, verdict)
        self.check_files(verdict)
        self.server.stop()

    def close_windows(self, client, time_us, until_us):
        client.close_windows(time_us)
        for pipeline in self.checker.pipelines:
            self.server.wait_watermark(pipeline.pipeline_name(), until_us)

    def check_files(self, verdict):
        said = model.integrity(self.server.database)
        if said:
            verdict.fault(f'integrity_check: {said}')
        done = harness.weir('check', '-c', self.server.path, cwd=self.folder)
        if done.returncode != 0:
            verdict.fault(f'weir check ended with {done.returncode}: {done.stderr}')
        if self.known['journal'] and self.known['segment_size']:
            limit = JOURNAL_SEGMENTS * len(setting.STREAMS) << 20
            try:
                harness.wait_until(lambda: self.journal_bytes() <= limit, 'a short journal')
            except AssertionError:
                verdict.fault(f'the journal has {self.journal_bytes()} bytes')

    def journal_bytes(self):
        total = 0
        for folder, _, files in os.walk(os.path.join(self.folder, 'journal')):
            for name in files:
                try:
                    total += os.stat(os.path.join(folder, name)).st_blocks * 512
                except FileNotFoundError:
                    pass
        return total

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.loss:
            self.loss.remove()


class Run:
    """All rounds, and what came of them."""

    def __init__(self, options):
        self.options = options
        self.known = setting.probe()
        self.points = fault_points()
        self.total = model.Verdict()
        self.events = self.passed = self.failed = 0
        self.kills, self.losses = collections.Counter(), collections.Counter()
        self.began = time.monotonic()

    def all(self):
        options = self.options
        missing = [name for name, there in self.known.items() if not there]
        print(f'seed={options.seed} points={len(self.points)}' +
              (f'; this weir does not know: {", ".join(missing)}' if missing else ''), flush=True)
        chain, number, end = None, options.first, options.first + options.rounds
        while number < end:
            if chain is None:
                chain = Chain(options, self.known, self.points, number)
            last = number + 1 == end or (number + 1) % CHAIN == 0 or options.no_kill
            verdict = chain.round(last)
            self.count(chain, number, verdict)
            number += 1
            if last or not verdict.good():
                chain = self.end(chain, verdict)
            if (number - options.first) % 5 == 0:
                self.progress(number - options.first)
        self.closing_line()
        return self.failed == 0 and self.passed > 0

    def count(self, chain, number, verdict):
        self.total.add(verdict)
        if verdict.good():
            self.passed += 1
            return
        self.failed += 1
        options = self.options
        print(f'FAILED round {number} seed {options.seed}: lost={verdict.lost} doubled={verdict.doubled} '
              f'wrong={verdict.wrong}, in {chain.folder}')
        print(f'    killed after: {chain.plans}')
        for kind, texts in verdict.texts.items():
            for text in texts:
                print(f'    {kind}: {text}')
        more = ' --power-loss' if options.power_loss else ''
        print(f'    again: ./dev crash{more} --seed {options.seed} --rounds 1 --first {number}' +
              (f'; with those before it: --rounds {number - chain.first + 1} --first {chain.first}'
               if number > chain.first else ''), flush=True)

    def end(self, chain, verdict):
        self.events += chain.ledger.events()
        self.kills += chain.kills
        self.losses += chain.losses
        if verdict.good() and not self.options.keep:
            chain.remove()

    def progress(self, rounds):
        print(f'{rounds} rounds, {time.monotonic() - self.began:.0f} s, {self.failed} failed', flush=True)

    def closing_line(self):
        total = self.total
        print('killed at: ' + ', '.join(f'{name} {n}' for name, n in sorted(self.kills.items())))
        if self.losses:
            print('writes without a sync: ' + ', '.join(f'{name} {n}' for name, n in self.losses.items()))
        kills = sum(n for name, n in self.kills.items() if name not in ('at the start', 'power lost', 'reloads'))
        print(f'rounds={self.passed + self.failed} events={self.events} kills={kills} lost={total.lost} '
              f'doubled={total.doubled} wrong={total.wrong}')
        print(f'\n{self.passed} passed, {self.failed} failed, 0 skipped', flush=True)


def options_of(arguments):
    parser = argparse.ArgumentParser(prog='dev crash', description='Kills a server under load, and looks '
                                     'for events that were lost or counted twice.')
    parser.add_argument('--rounds', type=int, default=200)
    parser.add_argument('--seed', type=int, default=int.from_bytes(os.urandom(4), 'little'))
    parser.add_argument('--first', type=int, default=0, metavar='R', help='number of the first round')
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='so many chains of rounds at a time; what a round '
                        'does is the same')
    parser.add_argument('--power-loss', action='store_true',
                        help='after a kill, also undo some of what was not yet synced')
    parser.add_argument('--any-names', action='store_true', help='with --power-loss: names, too, come to disk '
                        'in any order, as POSIX allows and no file system with a journal does')
    parser.add_argument('--keep', action='store_true', help='keep the folders of rounds that passed, too')
    parser.add_argument('--no-kill', action='store_true', help='only load, no kills and no repeats: what '
                        'is compared must be right without them')
    parser.add_argument('--folder', help='where the folders of the rounds are made')
    parser.add_argument('--self-test', action='store_true',
                        help='whether this test finds faults that were put there on purpose')
    return parser.parse_args(arguments)


def side_by_side(options):
    """Processes of this program, each for some of the rounds. What they say comes one after the other."""
    size = min(CHAIN, -(-options.rounds // options.jobs))
    passed, failed, end = 0, 0, options.first + options.rounds
    own = [argument for argument in sys.argv[1:] if argument.startswith(('--power', '--any', '--no-k', '--keep'))]
    own += ['--seed', str(options.seed), *(['--folder', options.folder] if options.folder else [])]

    def some(first):
        rounds = min(size, end - first)
        done = subprocess.run([sys.executable, __file__, '--first', str(first), '--rounds', str(rounds), *own], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        found = re.search(r'^(\d+) passed, (\d+) failed, 0 skipped$', done.stdout, re.M)
        counts = (int(found[1]), int(found[2])) if found else (0, 1)
        return done.stdout[:found.start()] if found else done.stdout, counts[0], counts[1] + (done.returncode != 0 and not counts[1])

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for text, good, bad in pool.map(some, range(options.first, end, size)):
            print(text.rstrip('\n'), flush=True)
            passed, failed = passed + good, failed + bad
    print(f'\n{passed} passed, {failed} failed, 0 skipped', flush=True)
    return failed == 0 and passed > 0


def self_test():
    passed = failed = 0
    for name in ('test_checker.py', 'test_powerloss.py'):
        done = subprocess.run([sys.executable, os.path.join(HERE, name)], check=False)
        passed, failed = passed + (done.returncode == 0), failed + (done.returncode != 0)
    print(f'\n{passed} passed, {failed} failed, 0 skipped')
    return failed == 0


def main():
    options = options_of(sys.argv[1:])
    good = self_test() if options.self_test else side_by_side(options) if options.jobs > 1 else Run(options).all()
    sys.exit(0 if good else 1)


if __name__ == '__main__':
    main()
