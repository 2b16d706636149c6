# SPDX-License-Identifier: Apache-2.0
"""The page at /: its files, and, where Chromium and Selenium are there (./dev page), what a person sees of it.

$WEIR_AXE is the file axe.js of axe-core, for what it says of accessibility; $WEIR_SCREENSHOTS a folder for pictures.
"""

import csv
import io
import json
import os
import random
import re
import shutil
import signal
import tempfile
import unittest
import urllib.parse

import arrow_stream
import harness

try:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:
    webdriver = None

T0 = 1764000000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db}
streams:
  trades: {time: {field: ts, unit: ms}, fields: {symbol: string, price: float}}
  tags: {time: {field: ts, unit: ms}, fields: {tag: string}}
pipelines:
  trades_10s:
    from: trades
    key: [symbol]
    window: {tumbling: 10s}
    idle_timeout: 1h
    analyzers:
      - count
      - stats: {of: price, emit: [mean]}
  tags_10s:
    from: tags
    window: {tumbling: 10s}
    idle_timeout: 1h
    analyzers:
      - topk: {of: tag, k: 5}
'''
# Without windows, and with one of all time.
OTHERS = '''  events: {from: trades, window: none, select: [symbol, price]}
  ever: {from: trades, key: [symbol], window: {global: 10s, expire: 7d}, idle_timeout: 1h, analyzers: [count]}
'''
LONG = 'a name that is longer than a narrow screen is wide, by far'
FILES = ['', 'page/index.html', 'page/style.css'] + [f'page/{name}.js' for name in (
    'main', 'theme', 'watch', 'net', 'dom', 'download', 'format', 'chart', 'overview', 'results', 'console', 'letters', 'graph')]
VIEWS = ['', 'results', 'sql', 'letters', 'graph']
SHOTS = os.environ.get('WEIR_SCREENSHOTS')


def trades(first, last):
    """An event each second of two symbols: SLOW at 10, FAST at 20 + the second."""
    return '\n'.join(f'{{"ts":{T0 + 1000 * s},"symbol":"{name}","price":{price}}}'
                     for s in range(first, last) for name, price in (('SLOW', 10), ('FAST', 20 + s)))


def walk(first, last):
    """An event each second of six symbols that go up and down, for the pictures."""
    random.seed(7)
    price = {name: 20 + 12 * k for k, name in enumerate(('ACME', 'GLOBX', 'HOOLI', 'INITK', 'STARK', 'WONKA'))}
    lines = []
    for s in range(first, last):
        for name in price:
            price[name] += random.gauss(0, 0.6)
            lines.append(f'{{"ts":{T0 + 1000 * s},"symbol":"{name}","price":{price[name]:.2f}}}')
    return '\n'.join(lines)


class Files(unittest.TestCase):
    def test_files_come_from_the_binary_and_ask_nobody_else(self):
        with harness.Server(CONFIG) as server:
            size = 0
            for path in FILES:
                answer = server.request('GET', '/' + path)
                self.assertEqual(answer.status, 200, path)
                policy = answer.headers['Content-Security-Policy']
                self.assertIn("default-src 'none'", policy)
                self.assertNotIn('unsafe', policy)
                self.assertEqual(answer.headers['X-Content-Type-Options'], 'nosniff')
                text = answer.body.decode() if isinstance(answer.body, bytes) else answer.body
                size += len(text)
                elsewhere = set(re.findall(r'https?://[^"\s]+', text)) - {'http://www.w3.org/2000/svg'}
                self.assertEqual(elsewhere, set(), path)
                self.assertNotRegex(text, r'style=|onclick="|innerHTML')
                for name in re.findall(r'from "\./([a-z]+\.js)"', text):
                    self.assertIn(f'page/{name}', FILES)
            self.assertLess(size, 150000)
            self.assertEqual(server.request('GET', '/page/none.js').status, 404)


@unittest.skipIf(webdriver is None, 'Selenium is not installed')
class Seen(unittest.TestCase):
    def browser(self, width=1200, height=900, dark=False):
        options = webdriver.ChromeOptions()
        for flag in ('--headless=new', '--no-sandbox', '--disable-gpu', f'--window-size={width},{height}'):
            options.add_argument(flag)
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
        b = webdriver.Chrome(options=options)
        self.addCleanup(b.quit)
        b.execute_cdp_cmd('Emulation.setDeviceMetricsOverride',
                          {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': width < 500})
        b.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [
            {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}]})
        return b

    def until(self, condition, what):
        def tried():
            try:
                return condition()
            except Exception as e:  # pylint: disable=broad-except
                if 'stale element' in str(e) or 'no such element' in str(e):
                    return None
                raise
        return harness.wait_until(tried, what, every_s=0.05)

    def check_quiet(self, b, server):
        """No error in the console, and no request to anybody but the server."""
        self.assertEqual([e for e in b.get_log('browser') if e['level'] == 'SEVERE'], [])
        for entry in b.get_log('performance'):
            found = re.search(r'"method":"Network.requestWillBeSent".*?"request":\{[^}]*?"url":"([^"]+)"', entry['message'])
            if found and not found.group(1).startswith(('data:', 'chrome:', 'blob:')):
                self.assertEqual(urllib.parse.urlsplit(found.group(1)).port, server.port, found.group(1))

    def start(self, config=CONFIG):
        server = harness.Server(config)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        server.post('trades', trades(0, 41))
        server.post('tags', '\n'.join(f'{{"ts":{T0 + i},"tag":"#{"abc"[i % 3 if i % 2 else 0]}"}}' for i in range(60)) +
                    f'\n{{"ts":{T0 + 11000},"tag":"#z"}}')
        server.wait_watermark('trades_10s', (T0 + 40000) * 1000)
        server.wait_watermark('tags_10s', (T0 + 11000) * 1000)
        return server

    def open(self, b, server, view):
        b.get('about:blank')
        b.get(f'http://127.0.0.1:{server.port}/#/{view}')
        self.until(lambda: b.find_element(By.CSS_SELECTOR, 'h1').is_displayed(), 'the view')
        self.until(lambda: b.find_element(By.ID, 'health').text == 'ready', 'what the server says')

    def test_chart_moves_when_events_come(self):
        server, b = self.start(), self.browser()
        self.open(b, server, 'results/trades_10s')

        def drawn():
            return [p.get_attribute('d') for p in b.find_elements(By.CSS_SELECTOR, '.chart path.series')]
        before = self.until(lambda: drawn() if len(drawn()) == 2 else None, 'two lines')
        self.assertEqual({d.count('L') for d in before}, {3})  # four windows each
        server.post('trades', trades(41, 61))
        self.until(lambda: {d.count('L') for d in drawn()} == {5}, 'six windows')
        b.find_element(By.XPATH, "//label[contains(., 'Value')]/select/option[.='price_mean']").click()
        # Seconds 50 to 59 at 20 + s: the mean is 74.5.
        self.until(lambda: [e.text for e in b.find_elements(By.CSS_SELECTOR, '.legend b')] == ['74.5', '10'], 'values')
        chart = b.find_element(By.CSS_SELECTOR, '.chart [tabindex]')
        chart.send_keys(Keys.ARROW_LEFT)
        self.until(lambda: b.find_element(By.CSS_SELECTOR, '.legend b').text == '64.5', 'the window before')
        self.check_quiet(b, server)

    def test_a_token_is_asked_for_and_sent(self):
        server, b = harness.Server(CONFIG.replace('{listen: {listen}', '{listen: "{listen}", tokens: {folder}/tokens')), \
            self.browser()
        new = harness.weir('token', 'new', '-c', server.path, '--may', 'read,post', '--pipeline', 'trades_10s',
                           '--stream', 'trades').stdout.strip()
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)

        def post(first, last):
            self.assertEqual(server.post('trades', trades(first, last), Authorization=f'Bearer {new}').status, 200)
        post(0, 41)
        b.get(f'http://127.0.0.1:{server.port}/#/results/trades_10s')
        for text in ('weir_wrong_token', new):
            self.until(lambda: b.find_element(By.ID, 'token').is_displayed(), 'the question')
            b.find_element(By.ID, 'token').send_keys(text + Keys.ENTER)
            self.until(lambda: text == new or 'not one that is in force' in b.find_element(By.ID, 'access-why').text,
                       'the refusal')

        def drawn():
            return [p.get_attribute('d').count('L') for p in b.find_elements(By.CSS_SELECTOR, '.chart path.series')]
        self.until(lambda: drawn() == [3, 3], 'two lines')
        post(41, 61)
        self.until(lambda: drawn() == [5, 5], 'six windows, by live results')
        self.assertNotIn('tags_10s', b.page_source)
        self.assertEqual(len(self.download(b, self.downloads(b), 'trades_10s.csv', 'CSV', 'Download all').splitlines()), 1 + 12)
        kept = b.execute_script('return [sessionStorage.getItem("weir.token"), localStorage.length, document.cookie]')
        self.assertEqual(kept, [new, 0, ''])

    def test_ranks_are_bars(self):
        server, b = self.start(), self.browser()
        self.open(b, server, 'results/tags_10s/tags_10s_topk')
        got = self.until(lambda: [e.text for e in b.find_elements(By.CSS_SELECTOR, '.bars > span')], 'bars')
        self.assertEqual(got, ['#a', '40', '#b', '10', '#c', '10'])
        self.check_quiet(b, server)

    def test_events_and_results_of_all_time_are_drawn_with_names_of_any_length(self):
        server, b = self.start(CONFIG + OTHERS), self.browser(390, 844)
        server.post('trades', f'{{"ts":{T0 + 40500},"symbol":"{LONG}","price":7.5}}')

        def legend():
            return [e.text for e in b.find_elements(By.CSS_SELECTOR, '.legend b')]
        self.open(b, server, 'results/events')
        self.until(lambda: legend() == ['–', '–', '7.5'], 'the newest event')
        self.until(lambda: [p.get_attribute('d').count('L') for p in b.find_elements(By.CSS_SELECTOR, '.chart path.series')] == [40, 40, 0],
                   'lines and a point')
        b.find_element(By.CSS_SELECTOR, '.chart [tabindex]').send_keys(Keys.ARROW_LEFT)
        self.until(lambda: legend() == ['60', '10', '–'], 'those before')
        self.assertLessEqual(b.execute_script('return document.documentElement.scrollWidth'), 390)
        self.open(b, server, 'results/ever')
        bars = self.until(lambda: len(b.find_elements(By.CSS_SELECTOR, '.bars > .name')) == 3 and
                          [e.text for e in b.find_elements(By.CSS_SELECTOR, '.bars > span')], 'a bar of each')
        self.assertEqual(set(zip(bars[::2], bars[1::2])), {('FAST', '41'), ('SLOW', '41'), (LONG, '1')})
        self.assertLessEqual(b.execute_script('return document.documentElement.scrollWidth'), 390)
        self.check_quiet(b, server)

    def test_statement_is_answered_drawn_and_remembered(self):
        server, b = self.start(), self.browser()
        self.open(b, server, 'sql')
        text = b.find_element(By.CSS_SELECTOR, 'textarea')
        text.clear()
        text.send_keys('SELECT window_start, symbol, price_mean FROM trades_10s', Keys.CONTROL, Keys.ENTER)
        self.until(lambda: b.find_element(By.CSS_SELECTOR, '[role=status].soft').text.startswith('8 rows'), 'the answer')
        self.assertEqual(len(b.find_elements(By.CSS_SELECTOR, '.chart path.series')), 2)
        text.clear()
        text.send_keys('SELECT nothing', Keys.CONTROL, Keys.ENTER)
        self.until(lambda: 'nothing' in b.find_element(By.CSS_SELECTOR, 'p.bad').text, 'the error')
        b.find_element(By.XPATH, "//summary[.='Tables']").click()
        self.until(lambda: b.find_element(By.XPATH, "//button[.='tags_10s_topk']"), 'the tables').click()
        self.assertEqual(text.get_attribute('value'), 'SELECT * FROM tags_10s_topk_readable LIMIT 100')
        text.send_keys(Keys.CONTROL, Keys.ENTER)
        self.until(lambda: b.find_element(By.CSS_SELECTOR, '[role=status].soft').text.startswith('3 rows'), 'its rows')
        self.assertEqual(b.title, 'SQL - weir')
        text.clear()
        text.send_keys('SELECT price_mean FROM trades_10s', Keys.CONTROL, Keys.ENTER)
        self.until(lambda: b.find_element(By.CSS_SELECTOR, '[role=status].soft').text.startswith('8 rows'), 'an answer')
        b.refresh()
        self.until(lambda: 'price_mean' in b.find_element(By.CSS_SELECTOR, 'textarea').get_attribute('value'), 'what was asked')

    def downloads(self, b):
        """A folder for what the browser saves."""
        folder = tempfile.mkdtemp(prefix='weir-')
        self.addCleanup(shutil.rmtree, folder)
        b.execute_cdp_cmd('Browser.setDownloadBehavior', {'behavior': 'allow', 'downloadPath': folder})
        return folder

    def download(self, b, folder, name, form, button):
        """With keys alone: the choice of a format, and the button behind it."""
        choice = self.until(lambda: b.find_element(By.XPATH, "//label[contains(., 'Format')]/select"), 'the choice')
        self.until(choice.is_displayed, 'the choice')
        choice.send_keys(form, Keys.TAB)
        self.assertEqual(b.switch_to.active_element.text, button)
        b.switch_to.active_element.send_keys(Keys.ENTER)
        path = os.path.join(folder, name)
        self.until(lambda: os.path.exists(path), name)
        self.until(lambda: name in choice.find_element(By.XPATH, './../..//*[@role="status"]').text, 'that it is said')
        with open(path, 'rb') as file:
            data = file.read()
        os.unlink(path)
        return data

    def test_results_are_saved_whole(self):
        server, b = self.start(), self.browser()
        server.post('trades', walk(41, 2000))  # more rows than are shown
        server.wait_watermark('trades_10s', (T0 + 1999000) * 1000)
        harness.wait_until(lambda: server.rows('SELECT count(*) FROM trades_10s') == [(4 * 2 + 8 + 194 * 6,)], 'all windows')
        rows = server.rows('SELECT symbol, count, price_mean FROM trades_10s ORDER BY window_start, symbol')
        self.open(b, server, 'results/trades_10s')
        folder = self.downloads(b)
        got = csv.DictReader(io.StringIO(self.download(b, folder, 'trades_10s.csv', 'CSV', 'Download all').decode()))
        self.assertEqual([(r['symbol'], int(r['count']), float(r['price_mean'])) for r in got], rows)
        lines = self.download(b, folder, 'trades_10s.ndjson', 'NDJSON', 'Download all').decode().splitlines()
        self.assertEqual([(r['symbol'], r['count'], r['price_mean']) for r in map(json.loads, lines)], rows)
        schema, batches = arrow_stream.read(self.download(b, folder, 'trades_10s.arrows', 'Arrow', 'Download all'))
        at = [[name for name, _ in schema].index(name) for name in ('symbol', 'count', 'price_mean')]
        self.assertEqual([tuple(row[i] for i in at) for batch in batches for row in batch], rows)
        self.check_quiet(b, server)

    def test_an_answer_to_a_statement_is_saved_also_on_a_narrow_screen(self):
        server, b = self.start(), self.browser(390, 844)
        self.open(b, server, 'sql')
        text = b.find_element(By.CSS_SELECTOR, 'textarea')
        text.clear()
        text.send_keys('SELECT symbol, sum(count) AS n FROM trades_10s GROUP BY 1 ORDER BY 1', Keys.CONTROL, Keys.ENTER)
        folder, rows = self.downloads(b), [('FAST', 40), ('SLOW', 40)]
        got = self.download(b, folder, 'answer.csv', 'CSV', 'Download').decode()
        text.send_keys(' DESC')  # which was not asked
        self.assertEqual(list(csv.reader(io.StringIO(got))), [['symbol', 'n'], ['FAST', '40'], ['SLOW', '40']])
        lines = self.download(b, folder, 'answer.ndjson', 'NDJSON', 'Download').decode().splitlines()
        self.assertEqual([tuple(json.loads(line).values()) for line in lines], rows)
        _, batches = arrow_stream.read(self.download(b, folder, 'answer.arrows', 'Arrow', 'Download'))
        self.assertEqual([row for batch in batches for row in batch], rows)
        self.assertLessEqual(b.execute_script('return document.documentElement.scrollWidth'), 390)
        self.check_quiet(b, server)

    def test_an_answer_that_is_not_whole_is_not_saved(self):
        server, b = harness.Server(CONFIG.replace('weir.db}', 'weir.db, sql_max_rows: 20000}')), self.browser()
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        self.open(b, server, 'sql')
        folder, text = self.downloads(b), b.find_element(By.CSS_SELECTOR, 'textarea')
        for n, said in ((20000, 'answer.csv, '), (20001, 'nothing is saved')):
            text.clear()
            text.send_keys(f'WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t LIMIT {n}) SELECT n FROM t',
                           Keys.CONTROL, Keys.ENTER)
            self.until(lambda: ('there are more' in b.find_element(By.CSS_SELECTOR, 'p[role=status]').text) ==  # pylint: disable=cell-var-from-loop
                       (n > 20000) and b.find_element(By.CSS_SELECTOR, 'p[role=status]').text.startswith('20,000 rows'), 'the answer')
            button = self.until(lambda: b.find_element(By.XPATH, "//button[.='Download']"), 'the button')
            button.click()
            self.until(lambda: said in button.find_element(By.XPATH, './../*[@role="status"]').text, said)  # pylint: disable=cell-var-from-loop
        self.assertEqual(os.listdir(folder), ['answer.csv'])

    def test_dead_letters_are_shown_and_deleted(self):
        server, b = self.start(), self.browser()
        server.request('POST', '/api/v1/streams/trades/events', '{"ts":1764000041000,"price":"<b>much</b>"}\n',
                       {'Content-Type': 'application/x-ndjson'})
        self.open(b, server, 'letters/trades')
        self.until(lambda: '<b>much</b>' in b.find_element(By.CSS_SELECTOR, 'tbody').text, 'the record as text')
        b.find_element(By.XPATH, "//button[.='Delete all']").click()
        self.until(lambda: b.find_element(By.XPATH, "//dialog[@open]//button[.='Delete']"), 'the question').click()
        self.until(lambda: b.find_element(By.CSS_SELECTOR, 'p[role=status]').text == 'None.', 'that they are gone')
        self.check_quiet(b, server)

    def test_warnings_of_the_server_are_shown(self):
        server, b = self.start(), self.browser()
        with open(server.path, 'a', encoding='utf-8') as file:
            file.write('  other: {from: nobody}\n')
        server.process.send_signal(signal.SIGHUP)
        self.open(b, server, '')
        self.until(lambda: 'nobody' in b.find_element(By.XPATH, "//section[h2='Warnings and errors']//tbody").text, 'the warning')
        self.check_quiet(b, server)

    def test_keys_and_theme(self):
        server, b = self.start(), self.browser()
        self.open(b, server, '')
        body = b.find_element(By.TAG_NAME, 'body')
        for key, title in (('2', 'Results'), ('3', 'SQL'), ('5', 'Graph'), ('1', 'Overview')):
            body.send_keys(key)
            self.until(lambda: b.find_element(By.TAG_NAME, 'h1').text == title, title)  # pylint: disable=cell-var-from-loop
        ground = 'return getComputedStyle(document.body).backgroundColor'
        light = b.execute_script(ground)
        body.send_keys('t')
        self.assertNotEqual(b.execute_script(ground), light)
        body.send_keys('?')
        self.until(lambda: b.find_element(By.ID, 'help').is_displayed(), 'the list of keys')

    def test_who_reads_keeps_the_focus_and_the_place(self):
        """What is shown is made anew each second; the keyboard stays where it is, and a table is scrolled as it was."""
        server, b = self.start(), self.browser()
        server.post('trades', walk(41, 400))
        server.wait_watermark('trades_10s', (T0 + 399000) * 1000)
        begin = ('const e = document.querySelector(arguments[0]); if (!e || arguments[1] && e.scrollHeight < 900) return false;'
                 'e.scrollTop = arguments[1]; e.focus(); window.was = e; return true')
        for view, where, top in (('', 'a[href="#/results/tags_10s"]', 0), ('results', '[aria-label="rows of trades_10s"]', 200)):
            self.open(b, server, view)
            self.until(lambda: b.execute_script(begin, where, top), where)  # pylint: disable=cell-var-from-loop
            for _ in range(2):
                self.until(lambda: b.execute_script('return !window.was.isConnected'), 'what is made anew')
                found = b.execute_script('const e = window.was = document.querySelector(arguments[0]);'
                                         'return [e === document.activeElement, e.scrollTop]', where)
                self.assertEqual(found, [True, top])
        self.check_quiet(b, server)

    def test_every_view_wide_narrow_light_dark(self):
        server = self.start()
        server.post('trades', walk(41, 400))
        server.wait_watermark('trades_10s', (T0 + 399000) * 1000)
        axe = os.environ.get('WEIR_AXE')
        for name, width, dark in (('light', 1200, False), ('dark', 1200, True), ('narrow', 390, False)):
            b = self.browser(width, 844 if width < 500 else 900, dark)
            for view in VIEWS:
                self.open(b, server, view)
                ready = '.chart path.series' if view == 'results' else 'svg .node' if view == 'graph' else 'h1'
                self.until(lambda: b.find_elements(By.CSS_SELECTOR, ready), view)  # pylint: disable=cell-var-from-loop
                wide = b.execute_script('return document.documentElement.scrollWidth')
                self.assertLessEqual(wide, width, f'{view} {name}')
                if axe:
                    with open(axe, encoding='utf-8') as f:
                        b.execute_script(f.read())
                    found = b.execute_async_script('axe.run().then(arguments[0])')
                    self.assertGreater(len(found['passes']), 10)
                    serious = [(v['id'], v['nodes'][0]['html'], v['nodes'][0].get('failureSummary')) for v in found['violations']
                               if v['impact'] in ('serious', 'critical')]
                    self.assertEqual(serious, [], f'{view} {name}')
                if view == 'results':
                    b.find_element(By.XPATH, "//label[contains(., 'Value')]/select/option[.='price_mean']").click()
                if SHOTS and view in ('', 'results'):
                    b.save_screenshot(os.path.join(SHOTS, f'page-{view or "overview"}-{name}.png'))
            self.check_quiet(b, server)

    def test_page_is_small(self):
        server, b = self.start(), self.browser()
        self.open(b, server, '')
        at = self.until(lambda: b.execute_script(
            "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"), 'the first paint')
        total = b.execute_script("return performance.getEntriesByType('resource')"
                                 ".filter((r) => r.name.includes('/page/')).reduce((n, r) => n + r.encodedBodySize, 0)")
        print(f'first paint after {at:.0f} ms, {total / 1000:.0f} kB')
        self.assertLess(total, 150000)


if __name__ == '__main__':
    harness.main()
