"""Stands for the service that @ asks: POST of a word gives the number of its letters, 404 for "unknown".

    python3 service.py COMMAND...     runs it, with the address in $SERVICE
"""
import http.server
import os
import subprocess
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    wbufsize = -1

    def do_POST(self):
        word = self.rfile.read(int(self.headers['Content-Length'])).decode()
        body = b'' if word == 'unknown' else str(len(word)).encode()
        self.send_response(200 if body else 404)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    service = f'http://127.0.0.1:{server.server_port}/'
    done = subprocess.run(sys.argv[1:], env={**os.environ, 'SERVICE': service}, check=False)
    server.shutdown()
sys.exit(done.returncode)
