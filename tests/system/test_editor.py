# SPDX-License-Identifier: Apache-2.0
"""An editor on a configuration: yaml-language-server itself, by its protocol, with the schema of `weir schema`. Needs
$WEIR_YAML_LANGUAGE_SERVER, its program (./dev hard installs it)."""

import glob
import json
import os
import pathlib
import subprocess
import threading
import unittest

import harness
from test_schema import BAD, GOOD

PROGRAM = os.environ.get('WEIR_YAML_LANGUAGE_SERVER')
LINE = '# yaml-language-server: $schema=weir.schema.json\n'


class Editor:
    """LSP on the standard input and output of the server."""

    def __init__(self):
        self.process = subprocess.Popen([*PROGRAM.split(), '--stdio'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.limit = threading.Timer(harness.LIMIT_S, self.process.kill)  # it may say nothing at all
        self.limit.start()
        self.send('initialize', {'processId': os.getpid(), 'rootUri': None, 'capabilities': {}}, id=1)
        while self.receive().get('id') != 1:
            pass
        self.send('initialized', {})
        self.send('workspace/didChangeConfiguration', {'settings': {'yaml': {'validate': True, 'schemaStore': {'enable': False}}}})

    def close(self):
        self.limit.cancel()
        self.process.kill()
        self.process.wait()
        harness.close_pipe(self.process.stdin)
        self.process.stdout.close()

    def send(self, method, params, **more):
        body = json.dumps({'jsonrpc': '2.0', 'method': method, 'params': params, **more}).encode()
        self.process.stdin.write(b'Content-Length: %d\r\n\r\n%s' % (len(body), body))
        self.process.stdin.flush()

    def receive(self):
        size = 0
        while (line := self.process.stdout.readline().strip()) or not size:
            assert self.process.poll() is None, 'the language server ended'
            if line.lower().startswith(b'content-length:'):
                size = int(line.split(b':')[1])
        return json.loads(self.process.stdout.read(size))

    def faults(self, path):
        """What it says of a file, as messages with a line."""
        uri = pathlib.Path(path).as_uri()
        text = pathlib.Path(path).read_text(encoding='utf-8')
        self.send('textDocument/didOpen', {'textDocument': {'uri': uri, 'languageId': 'yaml', 'version': 1, 'text': text}})
        while True:
            said = self.receive()
            if said.get('method') == 'textDocument/publishDiagnostics' and said['params']['uri'] == uri:
                return [(d['range']['start']['line'] + 1, d['message']) for d in said['params']['diagnostics']]


@unittest.skipUnless(PROGRAM, 'no WEIR_YAML_LANGUAGE_SERVER')
class Files(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        with open(os.path.join(self.folder, 'weir.schema.json'), 'w', encoding='utf-8') as file:
            file.write(harness.weir('schema').stdout)
        self.editor = Editor()
        self.addCleanup(self.editor.close)

    def faults(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        return self.editor.faults(path)

    def test_good_files_have_no_faults(self):
        self.assertEqual(self.faults('good.yaml', LINE + GOOD), [])
        paths = glob.glob(os.path.join(harness.SOURCE, 'etc', 'examples', '*.yaml'))
        self.assertGreater(len(paths), 2)
        for path in paths:
            with open(path, encoding='utf-8') as file:
                self.assertEqual(self.faults(os.path.basename(path), file.read()), [], path)

    def test_bad_ones_are_marked(self):
        for i, (old, new) in enumerate(BAD):
            self.assertNotEqual(self.faults(f'bad-{i}.yaml', LINE + GOOD.replace(old, new, 1)), [], new)

    def test_a_misspelt_parameter_is_marked_in_its_line(self):
        text = LINE + GOOD.replace('k: 3', 'kk: 3', 1)
        line = next(n for n, content in enumerate(text.splitlines(), 1) if 'kk: 3' in content)
        self.assertIn(line, [at for at, _ in self.faults('line.yaml', text)])


if __name__ == '__main__':
    harness.main()
