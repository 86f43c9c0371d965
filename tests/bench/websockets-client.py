"""A small program on Python's websockets, as a measure of what is usual.

    websockets-client.py in URL COUNT        prints so many messages, one a line
    websockets-client.py out URL             sends each line of standard input
    websockets-client.py idle URL N SECONDS  holds N connections, pinging every SECONDS, until standard
                                             input ends; prints "open" when all are there
    websockets-client.py ask URL COUNT       32 bytes there and back, one in flight; prints
                                             "rtt P50 MEAN" in ns
    websockets-client.py ask-sock PATH COUNT  the same through a Unix socket, without any websockets
"""
import asyncio
import socket
import ssl
import statistics
import sys
import time

import websockets

REQUEST = '{"id":1,"method":"01234567890"}'


async def connect(url, **options):
    if url.startswith('wss:'):
        options['ssl'] = ssl._create_unverified_context()
    return await websockets.connect(url, compression=None, max_size=None, **options)


async def receive(url, count):
    connection = await connect(url)
    for _ in range(int(count)):
        sys.stdout.write(await connection.recv() + '\n')
    sys.stdout.flush()
    await asyncio.sleep(60)


async def send(url):
    connection = await connect(url)
    for line in sys.stdin:
        await connection.send(line[:-1])
    await asyncio.sleep(60)


async def hold(url, count, seconds):
    connections = []
    while len(connections) < int(count):
        connections += await asyncio.gather(*[
            connect(url, ping_interval=float(seconds), ping_timeout=20) for _ in range(100)])
    print('open', flush=True)
    end = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, end.set)
    await end.wait()
    sys.stdout.flush()


def report(took):
    print('rtt', int(statistics.median(took)), int(statistics.mean(took)), flush=True)


async def ask(url, count):
    connection = await connect(url)
    took = []
    for _ in range(int(count)):
        start = time.monotonic_ns()
        await connection.send(REQUEST)
        await connection.recv()
        took.append(time.monotonic_ns() - start)
    report(took)
    await connection.close()


async def ask_sock(path, count):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        lines, took = sock.makefile('rw'), []
        for _ in range(int(count)):
            start = time.monotonic_ns()
            lines.write(REQUEST + '\n')
            lines.flush()
            lines.readline()
            took.append(time.monotonic_ns() - start)
    report(took)


verb = {'in': receive, 'out': send, 'idle': hold, 'ask': ask, 'ask-sock': ask_sock}[sys.argv[1]]
try:
    asyncio.run(asyncio.wait_for(verb(*sys.argv[2:]), 300))
except (BrokenPipeError, websockets.ConnectionClosed):
    sys.exit(1)
