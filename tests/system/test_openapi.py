# SPDX-License-Identifier: Apache-2.0
"""The description of the API: it lints, clients made from it post and read, and Schemathesis finds no answer that it does not
describe. What is not installed is skipped: `./dev openapi` installs it, in a folder that $WEIR_CLIENTS names."""

import json
import os
import re
import subprocess
import sys
import textwrap
import unittest

import harness
from test_access import new_token
from test_clients import BIN, program, python

HERE = os.path.dirname(os.path.abspath(__file__))
DESCRIPTION = os.path.join(harness.SOURCE, 'server', 'api', 'openapi.json')
T0 = 1700000000000
TOKENS = ', tokens: {folder}/tokens'
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, backups: {folder}/backups%s}
streams:
  trades: {time: {field: ts, unit: ms}, fields: {symbol: string, price: float, qty: int}}
  logs: {time: {field: time}, fields: {body: string}}
pipelines:
  of_trades: {from: trades, key: symbol, window: {tumbling: 1s}, analyzers: [count, {stats: {of: price, emit: [sum]}}]}
  rows: {from: trades, window: none, select: [symbol, price]}
'''
EXAMPLES = os.environ.get('WEIR_OPENAPI_EXAMPLES')  # for each operation
at_length = unittest.skipUnless(EXAMPLES, 'it takes a minute: ./dev openapi')


def run(command, folder, **env):
    """Its output; it must succeed."""
    done = subprocess.run(command, cwd=folder, env={**os.environ, 'PATH': BIN + os.pathsep + os.environ['PATH'], **env},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
                          timeout=600, check=False)
    if done.returncode != 0:
        said = re.sub(r'(.)\1{99,}', r'\1...', done.stdout)
        raise AssertionError(f'{command[0]}: {done.returncode}\n{said[-6000:]}')
    return done.stdout


class Lints(unittest.TestCase):
    def test_it_is_openapi_3_1(self):
        run([program('openapi-spec-validator'), DESCRIPTION], HERE)

    def test_every_operation_has_a_name_a_tag_and_a_summary(self):
        """What generators make names of, with Python's own eyes."""
        with open(DESCRIPTION, encoding='utf-8') as file:
            document = json.load(file)
        tags = {tag['name'] for tag in document['tags']}
        operations = [o for item in document['paths'].values() for o in item.values()]
        names = [o['operationId'] for o in operations]
        self.assertEqual(len(set(names)), len(names))
        for o in operations:
            self.assertTrue(o['summary'] and set(o['tags']) <= tags and len(o['tags']) == 1, o['operationId'])


@at_length
class Generated(unittest.TestCase):
    """Each client posts what Python sums up here, and reads it by results and by SQL."""

    def setUp(self):
        self.server = harness.Server(CONFIG % TOKENS)
        token = new_token(self.server, '--may', 'all')
        self.server.__enter__()
        self.addCleanup(self.server.__exit__, None, None, None)
        self.folder = harness.folder_for_test(self)
        self.arguments = [f'http://127.0.0.1:{self.server.port}', token]

    def check(self, command, script, name, **env):
        path = os.path.join(self.folder, name)
        with open(path, 'w', encoding='ascii') as file:
            file.write(textwrap.dedent(script).replace('T0', str(T0)))
        said = json.loads(run([*command(path), *self.arguments], self.folder, **env).splitlines()[-1])
        self.assertEqual(said, {'accepted': 20, 'results': [['B', 10, sum(i / 2 for i in range(1, 20, 2))]], 'sql': [[2]],
                                'status': 404, 'code': 'unknown_pipeline'})

    def test_openapi_python_client(self):
        interpreter = python('httpx', 'attr')
        run([program('openapi-python-client'), 'generate', '--path', DESCRIPTION, '--output-path', 'made', '--meta', 'none'],
            self.folder)
        self.check(lambda path: [interpreter, path], '''
            import json, sys, time
            from made import AuthenticatedClient
            from made.api.events import post_events
            from made.api.results import get_results
            from made.api.sql import post_sql
            from made.models import GetResultsOrder, GetResultsTimes, PostEventsJsonBodyItem as Event, Sql
            client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
            with client as client:
                events = [{'ts': T0 + i * 10, 'symbol': 'AB'[i % 2], 'price': i / 2} for i in range(20)]
                accepted = post_events.sync('trades', client=client, body=[Event.from_dict(e) for e in events]).accepted
                post_events.sync('trades', client=client, body=[Event.from_dict({'ts': T0 + 60000, 'symbol': 'A'})])
                rows = []
                while not rows:
                    time.sleep(0.01)
                    rows = get_results.sync('of_trades', client=client, from_=str(T0), columns='symbol,count,price_sum',
                                            limit='10', order=GetResultsOrder.DESC, times=GetResultsTimes.MS)
                answer = post_sql.sync(client=client, body=Sql(sql='SELECT count(*) FROM of_trades WHERE window_start < 1700000001000000'))
                wrong = get_results.sync_detailed('nowhere', client=client)
                print(json.dumps({'accepted': accepted, 'results': [[r[c] for c in ('symbol', 'count', 'price_sum')] for r in rows[:1]],
                                  'sql': answer.rows, 'status': wrong.status_code, 'code': json.loads(wrong.content)['code']}))
            ''', 'use.py')

    def generator(self, name, *more):
        program('java')
        run([program('openapi-generator-cli'), 'generate', '-i', DESCRIPTION, '-g', name, '-o', self.folder, *more], self.folder)

    def test_openapi_generator_of_python(self):
        interpreter = python('pydantic', 'urllib3', 'dateutil')
        self.generator('python', '--package-name', 'made')
        self.check(lambda path: [interpreter, path], '''
            import json, sys, time
            import made
            from made.models import Sql
            client = made.ApiClient(made.Configuration(host=sys.argv[1], access_token=sys.argv[2]))
            events, results, sql = made.EventsApi(client), made.ResultsApi(client), made.SqlApi(client)
            batch = [{'ts': T0 + i * 10, 'symbol': 'AB'[i % 2], 'price': i / 2} for i in range(20)]
            accepted = events.post_events('trades', request_body=batch).accepted
            events.post_events('trades', request_body=[{'ts': T0 + 60000, 'symbol': 'A'}])
            rows = []
            while not rows:
                time.sleep(0.01)
                rows = results.get_results('of_trades', var_from=str(T0), columns='symbol,count,price_sum', limit='10', order='desc')
            answer = sql.post_sql(Sql(sql='SELECT count(*) FROM of_trades WHERE window_start < 1700000001000000'))
            try:
                results.get_results('nowhere')
            except made.ApiException as e:
                wrong = e
            print(json.dumps({'accepted': accepted, 'results': [[r[c] for c in ('symbol', 'count', 'price_sum')] for r in rows[:1]],
                              'sql': answer.rows, 'status': wrong.status, 'code': json.loads(wrong.body)['code']}))
            ''', 'use.py')

    def test_openapi_generator_of_typescript(self):
        modules = os.path.join(os.path.dirname(BIN), 'node', 'node_modules')
        compiler = os.path.join(modules, 'typescript', 'bin', 'tsc')
        if not os.path.exists(compiler):
            self.skipTest('no typescript; ./dev openapi')
        node = program('node')
        self.generator('typescript-fetch')
        self.check(lambda path: ['sh', '-c', f'{node} {compiler} --target es2022 --module commonjs --lib es2022,dom --outDir made '
                                 f'--skipLibCheck use.ts && {node} made/use.js "$@"', 'sh'], '''
            import {Configuration, EventsApi, ResultsApi, SqlApi, ResponseError} from './index';
            declare const process: any;
            const [basePath, accessToken] = process.argv.slice(2);
            const configuration = new Configuration({basePath, accessToken});
            const events = new EventsApi(configuration), results = new ResultsApi(configuration), sql = new SqlApi(configuration);
            const batch = Array.from({length: 20}, (_, i) => ({ts: T0 + i * 10, symbol: 'AB'[i % 2], price: i / 2}));
            async function main() {
              const {accepted} = await events.postEvents({stream: 'trades', requestBody: batch});
              await events.postEvents({stream: 'trades', requestBody: [{ts: T0 + 60000, symbol: 'A'}]});
              let rows: any[] = [];
              while (!rows.length)
                rows = await results.getResults({pipeline: 'of_trades', from: String(T0), columns: 'symbol,count,price_sum', limit: '10',
                                                 order: 'desc' as any});
              const answer = await sql.postSql({sql: {sql: 'SELECT count(*) FROM of_trades WHERE window_start < 1700000001000000'}});
              const wrong = await results.getResults({pipeline: 'nowhere'}).catch((e: ResponseError) => e.response) as Response;
              console.log(JSON.stringify({accepted, results: rows.slice(0, 1).map(r => [r.symbol, r.count, r.price_sum]),
                                          sql: answer.rows, status: wrong.status, code: (await wrong.json()).code}));
            }
            main();
            ''', 'use.ts')


@at_length
class Schemathesis(unittest.TestCase):
    """Requests made from the description, right and wrong ones: no answer that it does not have. Live results have no end."""

    def check(self, server, *arguments):
        server.request('POST', '/api/v1/streams/trades/events', ''.join(
            json.dumps({'ts': T0 + i * 100, 'symbol': 'AB'[i % 2], 'price': i / 2, 'qty': i}) + '\n' for i in range(100)))
        run([program('schemathesis'), '--config-file', os.path.join(HERE, 'openapi.toml'), 'run',
             f'http://127.0.0.1:{server.port}/openapi.json', '--checks', 'all', '--exclude-path-regex', 'results/(.*/)?live$',
             '--max-examples', EXAMPLES, '--seed', '1', '--generation-database', 'none', '--no-color',
             '--suppress-health-check', 'too_slow', *arguments],  # which a busy machine is
            server.folder, PYTHONPATH=HERE)
        self.assertEqual(server.get('/live').status, 200)

    def test_without_tokens(self):
        program('schemathesis')
        with harness.Server(CONFIG % '') as server:
            self.check(server)

    def test_with_a_token(self):
        program('schemathesis')
        server = harness.Server(CONFIG % TOKENS)
        token = new_token(server, '--may', 'all')
        with server:
            self.check(server, '--header', f'Authorization: Bearer {token}')


if __name__ == '__main__':
    sys.path.insert(0, HERE)
    harness.main()
