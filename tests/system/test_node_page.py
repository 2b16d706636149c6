#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page at / of a node, as a person sees it: who runs which shard, and what is wrong. Where Chromium and Selenium are there (./dev page)."""

import os
import signal
import unittest
import urllib.parse

import brokers
import harness
import test_node
import test_page

if test_page.webdriver:
    from selenium.webdriver.common.by import By

SHARDS = test_node.SHARDS


class Origin:
    """What Seen.check_quiet asks of a server."""

    def __init__(self, address):
        self.port = urllib.parse.urlsplit(address).port


@unittest.skipIf(test_page.webdriver is None, 'Selenium is not installed')
@unittest.skipUnless(brokers.there(), 'built without librdkafka')
@unittest.skipIf(brokers.traced(), 'ThreadSanitizer knows nothing of librdkafka')
class Seen(test_node.Cluster):
    browser, until, check_quiet = test_page.Seen.browser, test_page.Seen.until, test_page.Seen.check_quiet

    def table(self, b, label):
        """Its rows: {first cell: the others}."""
        rows = b.execute_script('return [...document.querySelectorAll(`[aria-label="${arguments[0]}"] tbody tr`)]'
                                '.map((r) => [...r.children].map((c) => c.textContent))', label)
        return {row[0]: row[1:] for row in rows}

    def health(self, b):
        return b.find_element(By.ID, 'health').text

    def test_who_has_what(self):
        more = test_node.FRAGILE
        a, c = self.node('a', session='10s, restart: 1m', more=more), self.node('c', session='10s, restart: 1m', more=more)
        self.wait_shares(a=3, c=3)
        leases = self.leases()
        a.wait_ready()
        b = self.browser()
        b.get(a.address() + '/')
        self.until(lambda: self.health(b) == 'ready', 'the node to be ready')
        self.until(lambda: {row[1] for row in self.table(b, 'shards').values()} == {'ready'}, 'all shards to be ready')
        self.assertEqual({shard: row[0] for shard, row in self.table(b, 'shards').items()}, {str(i): name for i, name in leases.items()})
        self.assertEqual({name: row[:2] for name, row in self.table(b, 'nodes').items()}, {'a': ['lives', '3'], 'c': ['lives', '3']})
        self.assertEqual([e.text for e in b.find_elements(By.CSS_SELECTOR, '.figure')][:2], ['2', f'{SHARDS} of {SHARDS}'])
        self.assertEqual(b.title, 'Nodes - weir')
        self.check_quiet(b, Origin(a.address()))  # before an answer is 503, which a browser logs
        # A shard of it, and one of the other node, have a pipeline that has stopped.
        broken = [min(shard for shard, name in leases.items() if name == node) for node in 'ac']
        for shard in broken:
            self.fail_at(shard)
        self.until(lambda: {self.table(b, 'shards')[str(shard)][1] for shard in broken} == {'not ready'}, 'those that are not ready')
        self.until(lambda: all(f'shard {shard}: ' in b.find_element(By.CSS_SELECTOR, 'section.bad').text for shard in broken), 'why')
        self.until(lambda: self.health(b).startswith(f'the server of shard {broken[0]}: '), 'the reason')
        # The other node is to come again.
        self.assertEqual(c.end(signal.SIGUSR1), 0)
        self.until(lambda: self.table(b, 'nodes')['c'][0] == 'restarts', 'the restart')
        self.until(lambda: {row[1] for row in self.table(b, 'shards').values() if row[0] == 'c'} == {'restarts'}, 'its shards')
        a.kill()
        self.until(lambda: self.health(b) == 'the server cannot be reached', 'that it is gone')

    def test_wide_narrow_light_dark(self):
        a = self.node('a')
        self.wait_shares(a=SHARDS)
        a.wait_ready()
        axe = os.environ.get('WEIR_AXE')
        for name, width, dark in (('light', 1200, False), ('dark', 1200, True), ('narrow', 390, False)):
            b = self.browser(width, 844 if width < 500 else 900, dark)
            b.get(a.address() + '/')
            self.until(lambda: len(self.table(b, 'shards')) == SHARDS, 'the shards')  # pylint: disable=cell-var-from-loop
            self.assertLessEqual(b.execute_script('return document.documentElement.scrollWidth'), width, name)
            ground = 'return getComputedStyle(document.body).backgroundColor'
            before = b.execute_script(ground)
            b.find_element(By.ID, 'theme').click()
            self.assertNotEqual(b.execute_script(ground), before)
            b.find_element(By.ID, 'theme').click()
            if axe:
                with open(axe, encoding='utf-8') as f:
                    b.execute_script(f.read())
                found = b.execute_async_script('axe.run().then(arguments[0])')
                serious = [(v['id'], v['nodes'][0]['html'], v['nodes'][0].get('failureSummary')) for v in found['violations']
                           if v['impact'] in ('serious', 'critical')]
                self.assertEqual(serious, [], name)
            if test_page.SHOTS:
                b.save_screenshot(os.path.join(test_page.SHOTS, f'page-nodes-{name}.png'))
            self.check_quiet(b, Origin(a.address()))


if __name__ == '__main__':
    harness.main()
