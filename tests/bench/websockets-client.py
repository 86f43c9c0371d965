"""A small program on Python's websockets, as a measure of what is usual.

    websockets-client.py in URL COUNT        prints so many messages, one a line
    websockets-client.py out URL             sends each line of standard input
    websockets-client.py idle URL N SECONDS  holds N connections, pinging every SECONDS, until standard
                                             input ends; prints "open" when all are there
"""
import asyncio
import ssl
import sys

import websockets


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


verb = {'in': receive, 'out': send, 'idle': hold}[sys.argv[1]]
try:
    asyncio.run(asyncio.wait_for(verb(*sys.argv[2:]), 300))
except (BrokenPipeError, websockets.ConnectionClosed):
    sys.exit(1)
