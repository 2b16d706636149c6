# SPDX-License-Identifier: Apache-2.0
"""A configuration, plugin, address, folder or database that will not do: weir refuses to start, with
the reason, the place and the exit code. `weir check` and `weir serve` say the same."""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import unittest

import harness

GOOD = '''\
server: {listen: 127.0.0.1:0, database: weir.db}
streams:
  trades:
    time: {field: ts, unit: ms}
    fields: {symbol: string, price: float, qty: int}
pipelines:
  trades_10s:
    from: trades
    key: [symbol]
    window: {tumbling: 10s}
    analyzers:
      - count
      - stats: {of: price}
'''

# What is put in place of what; where the error is; a word of the message.
WRONG = (
    ('tab in the indentation', '    from: trades', '\tfrom: trades', '', ''),
    ('list that is not closed', '[symbol]', '[symbol', '', ''),
    ('unknown key of the file', 'streams:', 'steams:', 'steams', 'streams'),
    ('unknown key of a pipeline', 'window: {', 'widow: {', 'widow', 'window'),
    ('unknown key of a stream', 'fields:', 'feilds:', 'feilds', 'fields'),
    ('unknown type', 'qty: int', 'qty: integr', 'integr', 'int'),
    ('unknown stream', 'from: trades', 'from: trade', 'trade', 'trades'),
    ('unknown key column', '[symbol]', '[symbl]', 'symbl', 'symbol'),
    ('unknown unit', 'unit: ms', 'unit: mss', 'mss', 'ms'),
    ('window that is no duration', 'tumbling: 10s', 'tumbling: ten', 'ten', ''),
    ('window of no length', 'tumbling: 10s', 'tumbling: 0s', '0s', ''),
    ('no window', '    window: {tumbling: 10s}\n', '', '', 'window'),
    ('unknown analyzer', '- count', '- cuont', 'cuont', 'count'),
    ('unknown parameter', '{of: price}', '{off: price}', 'off', 'of'),
    ('missing parameter', 'stats: {of: price}', 'stats', 'stats', 'of'),
    ('column that does not exist', '{of: price}', '{of: prize}', 'prize', 'price'),
    ('column of the wrong type', '{of: price}', '{of: symbol}', 'symbol', 'string'),
    ('word that is not a choice', '{of: price}', '{of: price, emit: [meen]}', 'meen', 'mean'),
    ('where that does not compile', '    key: [symbol]', '    where: price >\n    key: [symbol]',
     'price >', ''),
    ('where with an unknown column', '    key: [symbol]', '    where: prize > 1\n    key: [symbol]',
     'prize', 'prize'),
    ('where with a subquery', '    key: [symbol]',
     '    where: (SELECT count(*) FROM sqlite_schema)\n    key: [symbol]', '(SELECT', ''),
    ('variable that is not set', '127.0.0.1:0', '"${WEIR_TEST_NOT_SET:?say where to listen}"',
     '"${WEIR', 'say where to listen'),
    ('address that is none', '127.0.0.1:0', '127.0.0.1:99999', '127.0.0.1:99999', ''),
    ('address for everybody without tokens', '127.0.0.1:0', '0.0.0.0:0', '0.0.0.0:0', ''),
    ('host with a port', 'database: weir.db}', 'database: weir.db, hosts: ["x.example:80"]}',
     '"x.example:80"', 'without a port'),
    ('the same name twice', 'streams:', 'pipelines: {}\nstreams:', '', 'pipelines'),
    ('number of workers out of range', '    from: trades', '    workers: 1000\n    from: trades',
     '1000', ''),
)

PLUGIN = '''
#include <stddef.h>
#include "weir/plugin.h"
int nowhere_to_be_found(struct weir_ctx *);
static int update(struct weir_ctx *c, const struct weir_rows *r) { (void)c; (void)r; return 0; }
static int emit_one(struct weir_ctx *c, const char *s, const struct weir_window *w, struct weir_out *o)
{ (void)s; (void)w; return weir_put_int(c, o, 0, 1); }
WEIR_EMIT(emit, char, emit_one)
static const struct weir_output outputs[] = {{"one", WEIR_INT, "one", NULL}, {NULL, 0, NULL, NULL}};
static const struct weir_analyzer analyzer = {.name = "NAME", .version = "1", .help = "h",
    .outputs = outputs, .state_size = 8, MEMBERS};
'''


class Start(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        self.path = os.path.join(self.folder, 'weir.yaml')

    def run_weir(self, command, text=None, **more):
        if text is not None:
            with open(self.path, 'w', encoding='utf-8') as file:
                file.write(text)
        return harness.weir(command, '-c', self.path, cwd=self.folder, **more)

    def check_refused(self, text, code, words, **more):
        """check and serve end with the code and the words."""
        for command in ('check', 'serve'):
            done = self.run_weir(command, text, **more)
            self.assertEqual(done.returncode, code, (command, done.stderr))
            for word in words:
                self.assertIn(word, done.stderr, command)
        return done

    def test_good_configuration_passes_the_check(self):
        done = self.run_weir('check', GOOD)
        self.assertEqual((done.returncode, done.stderr), (0, done.stderr))

    def test_check_makes_and_changes_nothing(self):
        def contents():
            return {name: open(os.path.join(self.folder, name), 'rb').read() for name in os.listdir(self.folder)
                    if not os.path.isdir(os.path.join(self.folder, name))}

        added = GOOD + '  added: {from: trades, window: {tumbling: 1s}, analyzers: [count]}\n'
        self.assertEqual(self.run_weir('check', GOOD).returncode, 0)
        self.assertEqual(os.listdir(self.folder), ['weir.yaml'])
        with harness.Server(GOOD, folder=self.folder):
            done = self.run_weir('check', added)
            self.assertIn('a server has the database open', done.stderr)
        with open(self.path, 'w', encoding='utf-8') as file:
            file.write(added)
        before = contents()
        done = self.run_weir('check')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn('a server has', done.stderr)
        self.assertEqual(contents(), before)

    def test_check_compares_the_tables_of_an_older_version(self):
        with harness.Server(GOOD, folder=self.folder):
            pass
        connection = sqlite3.connect(os.path.join(self.folder, 'weir.db'))
        connection.executescript('''DROP TABLE weir_hooks; DROP TABLE weir_hook_states; DROP TABLE weir_hook_notices;
            DROP TABLE weir_bookmarks; DROP TABLE weir_answers; DROP TABLE weir_carried; DROP TABLE weir_published;
            UPDATE weir_meta SET value = '3' WHERE key = 'schema_version' ''')
        connection.close()
        self.assertEqual(self.run_weir('check', GOOD).returncode, 0)
        self.check_refused(GOOD.replace('tumbling: 10s', 'tumbling: 20s'), 78, ['trades_10s', 'its windows are 10s long'])

    def test_table_of_somebody_else_is_refused(self):
        connection = sqlite3.connect(os.path.join(self.folder, 'weir.db'))
        connection.execute('CREATE TABLE trades_10s (diary TEXT)')
        connection.close()
        self.check_refused(GOOD, 78, ['trades_10s'])

    def test_configuration_is_named_by_the_environment_where_nothing_else_does(self):
        self.run_weir('check', GOOD)
        env = {**harness.environment(), 'WEIR_CONFIG': self.path}
        for arguments in (('check',), ('doctor',), ('sql', 'SELECT 1'), ('backup', 'copy')):
            with self.subTest(arguments=arguments):
                done = harness.weir(*arguments, cwd=self.folder, env=env)
                self.assertNotEqual(done.returncode, 64, done.stderr)
                self.assertNotIn('missing', done.stderr)
        done = harness.weir('check', cwd=self.folder, env={**env, 'WEIR_CONFIG': self.path + '.not'})
        self.assertEqual(done.returncode, 78)
        self.assertIn(self.path + '.not', done.stderr)

    def test_wrong_configuration_is_refused_with_file_line_and_column(self):
        for name, old, new, at, word in WRONG:
            with self.subTest(name):
                self.assertEqual(GOOD.count(old), 1)
                text = GOOD.replace(old, new)
                done = self.check_refused(text, 78, [word])
                place = re.search(r'weir\.yaml:(\d+):(\d+): ', done.stderr)
                self.assertTrue(place, done.stderr)
                if at:
                    offset = text.index(at, text.index(new))
                    line = text.count('\n', 0, offset) + 1
                    column = offset - text.rfind('\n', 0, offset)
                    self.assertEqual(place.groups(), (str(line), str(column)), done.stderr)

    def test_all_that_is_wrong_is_told_at_once(self):
        text = GOOD.replace('- count', '- cuont').replace('{of: price}', '{of: prize}').replace(
            'window: {', 'where: costs > 1\n    window: {')
        done = self.run_weir('check', text)
        self.assertEqual(done.returncode, 78, done.stderr)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 3, done.stderr)
        for word in ("'cuont'", "'prize'", 'no such column: costs'):
            self.assertTrue(any(re.match(r'weir: .*weir\.yaml:\d+:\d+: ', line) and word in line
                                for line in lines), done.stderr)

    def test_close_names_are_suggested(self):
        for old, new, meant in (('window: {', 'widow: {', 'window'), ('- count', '- cuont', 'count'),
                                ('{of: price}', '{of: prize}', 'price')):
            done = self.run_weir('check', GOOD.replace(old, new))
            self.assertRegex(done.stderr, f"did you mean '{meant}'")

    def test_empty_and_missing_files_are_refused(self):
        self.check_refused('', 78, ['weir.yaml'])
        os.remove(self.path)
        done = self.run_weir('check')
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('weir.yaml', done.stderr)

    def test_wrong_usage_ends_with_64(self):
        for arguments in ((), ('nonsense',), ('serve', '--nonsense'), ('run',),
                          ('serve', '-c', self.path, 'more')):
            with self.subTest(arguments=arguments):
                self.assertEqual(harness.weir(*arguments).returncode, 64)
        self.assertRegex(harness.weir('serve', '--nonsense').stderr, '^weir serve: ')
        self.assertEqual(harness.weir('--help').returncode, 0)
        self.assertEqual(harness.weir('serve', '--help').returncode, 0)

    @unittest.skipUnless(os.path.exists('/dev/full'), 'no /dev/full')
    def test_what_cannot_be_printed_ends_with_74(self):
        self.run_weir('check', GOOD)
        for arguments in (('check', '-c', self.path), ('check', '-c', self.path, '--graph'), ('plugins',), ('plugins', 'count'),
                          ('doctor', '-c', self.path), ('schema',), ('version',), ('help',), ('run', '--help')):
            with self.subTest(arguments=arguments), open('/dev/full', 'w', encoding='utf-8') as full:
                done = subprocess.run([harness.WEIR, *arguments], stdout=full, stderr=subprocess.PIPE, cwd=self.folder,
                                      env=harness.environment(), text=True, timeout=harness.LIMIT_S, check=False)
                self.assertEqual(done.returncode, 74, done.stderr)
                self.assertIn('weir', done.stderr)

    # ---- Plugins ---------------------------------------------------------------------------------

    def build_plugin(self, name, tail, members='.update = update, .emit = emit'):
        harness.compile_plugin(self.folder, name,
                               PLUGIN.replace('NAME', name).replace('MEMBERS', members) + tail)

    def check_plugin(self, name, words):
        env = harness.environment()
        env['WEIR_PLUGIN_PATH'] += ':' + self.folder
        self.check_refused(GOOD.replace('- count', f'- {name}'), 78, [f'{name}.so', *words], env=env)

    def test_plugin_with_another_abi_is_refused(self):
        self.build_plugin('wrong_abi', '__attribute__((visibility("default"))) const struct weir_entry '
                          'weir_plugin_abi999 = {sizeof (struct weir_analyzer), &analyzer};')
        self.check_plugin('wrong_abi', ['weir_plugin_abi1'])

    def test_shared_object_that_is_no_plugin_is_refused(self):
        self.build_plugin('no_plugin', 'int x;')
        self.check_plugin('no_plugin', ['weir_plugin_abi1'])

    def test_file_that_is_no_shared_object_is_refused(self):
        with open(os.path.join(self.folder, 'text.so'), 'w', encoding='ascii') as file:
            file.write('not an ELF file\n')
        self.check_plugin('text', [])

    def test_plugin_that_misses_a_symbol_is_refused(self):
        self.build_plugin('missing', 'WEIR_PLUGIN(analyzer);',
                          '.update = update, .emit = emit, .open = nowhere_to_be_found')
        self.check_plugin('missing', ['nowhere_to_be_found'])

    def test_plugin_without_a_required_function_is_refused(self):
        self.build_plugin('no_update', 'WEIR_PLUGIN(analyzer);', '.emit = emit')
        self.check_plugin('no_update', ['update'])

    def test_plugin_built_as_it_should_be_is_taken(self):
        self.build_plugin('fine', 'WEIR_PLUGIN(analyzer);')
        env = harness.environment()
        env['WEIR_PLUGIN_PATH'] += ':' + self.folder
        done = self.run_weir('check', GOOD.replace('- count', '- fine'), env=env)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_plugins_of_all_configured_folders_are_found(self):
        self.build_plugin('fine', 'WEIR_PLUGIN(analyzer);')
        folders = ', '.join(['nowhere'] * 63 + [self.folder])
        text = GOOD.replace('weir.db}', f'weir.db, plugin_path: [{folders}]}}')
        done = self.run_weir('check', text.replace('- count', '- fine'))
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.run_weir('plugins')
        self.assertRegex(done.stdout, r'(?m)^fine ')

    # ---- The machine -----------------------------------------------------------------------------

    def test_port_in_use_ends_with_69(self):
        with socket.create_server(('127.0.0.1', 0)) as taken:
            port = taken.getsockname()[1]
            done = self.run_weir('serve', GOOD.replace('127.0.0.1:0', f'127.0.0.1:{port}'))
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertIn(str(port), done.stderr)

    def test_folder_that_is_not_there_ends_with_73(self):
        done = self.check_refused(GOOD.replace('weir.db', 'missing/weir.db'), 73, ['missing/weir.db'])
        self.assertFalse(os.path.exists(os.path.join(self.folder, 'missing')), done.stderr)

    def test_file_that_is_no_database_is_refused_and_left_alone(self):
        path = os.path.join(self.folder, 'weir.db')
        with open(path, 'w', encoding='ascii') as file:
            file.write('my diary\n' * 100)
        done = self.run_weir('serve', GOOD)
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertIn('weir.db', done.stderr)
        with open(path, encoding='ascii') as file:
            self.assertEqual(file.read(), 'my diary\n' * 100)

    def test_read_only_folder_ends_with_73_or_74(self):
        """Root may write anywhere, so that root runs weir as nobody here."""
        as_nobody = {'user': 65534, 'group': 65534, 'extra_groups': []} if os.geteuid() == 0 else {}
        os.chmod(self.folder, 0o755)
        self.run_weir('check', 'streams: [')
        with open(self.path, 'w', encoding='utf-8') as file:
            file.write(GOOD)
        os.chmod(self.folder, 0o555)
        try:
            if as_nobody and subprocess.run([harness.WEIR, 'version'], stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL, check=False,
                                            **as_nobody).returncode != 0:
                self.skipTest('nobody cannot run weir from here')
        except PermissionError:
            self.skipTest('nobody cannot run weir from here')
        done = subprocess.run([harness.WEIR, 'serve', '-c', self.path], cwd=self.folder, text=True,
                              env=harness.environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=harness.LIMIT_S, check=False, **as_nobody)
        os.chmod(self.folder, 0o755)
        self.assertIn(done.returncode, (73, 74), done.stderr)
        self.assertIn('weir.db', done.stderr)

    def test_database_of_a_newer_version_is_refused_and_left_alone(self):
        self.assertEqual(self.run_weir('check', GOOD).returncode, 0)
        path = os.path.join(self.folder, 'weir.db')
        with harness.Server(GOOD, folder=self.folder):
            pass
        connection = sqlite3.connect(path)
        sql = "UPDATE weir_meta SET value = value + 1000 WHERE key = 'schema_version'"
        self.assertEqual(connection.execute(sql).rowcount, 1)
        connection.commit()
        connection.close()
        self.check_refused(GOOD, 73, ['weir.db', 'newer'])

    def test_second_server_on_one_database_is_refused(self):
        with harness.Server(GOOD, folder=self.folder):
            done = self.run_weir('serve')
            self.assertNotEqual(done.returncode, 0)
            self.assertIn('weir.db', done.stderr)

    def test_refused_start_leaves_the_database_as_it_was(self):
        path = os.path.join(self.folder, 'weir.db')
        with harness.Server(GOOD, folder=self.folder):
            pass
        schema = 'SELECT name, sql FROM sqlite_schema ORDER BY name'
        before = harness.read_rows(path, schema)
        added = GOOD.replace('  trades_10s:', '  added: {from: trades, window: {tumbling: 1s}, analyzers: [count]}\n'
                             '  trades_10s:').replace('tumbling: 10s', 'tumbling: 20s')
        self.check_refused(added, 78, ['trades_10s', 'its windows are 10s long'])
        self.assertEqual(harness.read_rows(path, schema), before)

    def test_database_of_a_stopped_server_can_be_read_by_others(self):
        """By who may not write to the folder, with nothing but the sqlite3 shell."""
        if os.geteuid() != 0:
            self.skipTest('only root can be somebody else')
        shell = shutil.which('sqlite3')
        if shell is None:
            self.skipTest('no sqlite3 shell')
        umask = os.umask(0o022)
        self.addCleanup(os.umask, umask)
        os.chmod(self.folder, 0o755)
        with harness.Server(GOOD, folder=self.folder) as server:
            server.post_ok('trades', [{'ts': 1700000000000 + i, 'symbol': 'a', 'price': 1.0, 'qty': 1}
                                      for i in range(3)] +
                           [{'ts': 1700000100000, 'symbol': 'a', 'price': 1.0, 'qty': 1}])
            server.wait_watermark('trades_10s', 1700000010000000)
        done = subprocess.run([shell, '-batch', server.database, 'SELECT symbol, count FROM trades_10s'],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              user=65534, group=65534, extra_groups=[])
        self.assertEqual((done.stdout, done.returncode), ('a|3\n', 0))

    def test_sigterm_ends_with_0(self):
        with harness.Server(GOOD) as server:
            server.post_ok('trades', [{'ts': 1700000000000, 'symbol': 'a', 'price': 1.0, 'qty': 1}])
            server.stop()
            self.assertEqual(server.process.returncode, 0)


if __name__ == '__main__':
    harness.main()
