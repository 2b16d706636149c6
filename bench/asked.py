# SPDX-License-Identifier: Apache-2.0
"""Look-ups in plain Python, so many under way at once on one thread by asyncio: with aiohttp, or by streams of HTTP/1.1 written out.

    python3 bench/asked.py aiohttp|streams URL LOOKUPS IN_FLIGHT     prints look-ups, seconds, CPU seconds, the sum of the answers
"""
import asyncio
import json
import sys
import time
import urllib.parse


async def with_aiohttp(url, numbers, in_flight):
    import aiohttp
    total = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:
        async def work():
            nonlocal total
            for i in numbers:
                async with session.get(f'{url}/{i}') as reply:
                    total += (await reply.json())['n']
        await asyncio.gather(*(work() for _ in range(in_flight)))
    return total


async def with_streams(url, numbers, in_flight):
    """What a library does beside (redirects, chunks, time-outs, certificates) is not there: it is the least that asyncio costs."""
    parts, total = urllib.parse.urlsplit(url), 0

    async def work():
        nonlocal total
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for i in numbers:
            writer.write(f'GET {parts.path}/{i} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n'.encode())
            head = await reader.readuntil(b'\r\n\r\n')
            size = next(int(line.split(b':')[1]) for line in head.split(b'\r\n') if line.lower().startswith(b'content-length:'))
            total += json.loads(await reader.readexactly(size))['n']
        writer.close()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return total


def main(how, url, lookups, in_flight):
    began, cpu = time.monotonic(), time.process_time()
    ask = with_aiohttp if how == 'aiohttp' else with_streams
    total = asyncio.run(ask(url, iter(range(lookups)), in_flight))
    print(lookups, time.monotonic() - began, time.process_time() - cpu, total)


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
