import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import * as wire from '../../datalayer/embedded/bridge/src/wire.mjs'
import { Bridge, extended as x, skip, sleep, startupPacket, summary } from './support/bridge.mjs'

describe('protocol', { skip }, () => {
  let bridge, a, b
  before(async () => {
    bridge = await Bridge.start({ args: ['--lifetime', 'daemon', '--wait-timeout-ms', '1000'] })
    a = await bridge.connect()
    b = await bridge.connect()
    await a.query('CREATE TABLE t (id int PRIMARY KEY, v text)')
  })
  after(async () => {
    assert.equal(await bridge.stop(), 0)
  })
  const rows = (client = b) => client.query('SELECT id FROM t ORDER BY id').then((result) => result.rows.flat().map(Number))
  const empty = () => a.query('TRUNCATE t')

  test('encryption is declined and the start goes on in clear text', async () => {
    const client = await bridge.open()
    for (const code of [80877103, 80877104]) {
      client.send(wire.int32(8), wire.int32(code))
      await sleep(50)
    }
    client.send(wire.SYNC) // completes the two bytes 'N' to something a framer understands
    client.socket.destroy()
    const again = await bridge.open()
    const bytes = new Promise((resolve) => again.socket.once('data', resolve))
    again.send(wire.int32(8), wire.int32(80877103))
    assert.equal((await bytes).toString(), 'N')
    again.socket.destroy()
  })

  test('start-up reports the settings, a key, and an older protocol version', async () => {
    const client = await bridge.open()
    const { types, parameters } = summary(await client.startup({ '_pq_.x': '1', application_name: 'me', options: '-c work_mem=5MB --TimeZone=Asia/Tokyo' }, (3 << 16) | 2))
    assert.match(types, /^vRS+KZ$/)
    assert.deepEqual([parameters.application_name, parameters.TimeZone, parameters.client_encoding, parameters.is_superuser], ['me', 'Asia/Tokyo', 'UTF8', 'on'])
    assert.equal(await client.value('SHOW work_mem'), '5MB')
    await client.end()
  })

  test('impossible start-up parameters are refused', async () => {
    const client = await bridge.open()
    client.send(startupPacket({ work_mem: 'banana' }))
    const { error } = summary(await client.until('E'))
    assert.deepEqual([error.S, error.C], ['FATAL', '22023'])
    await client.closed
  })

  test('messages split at every byte, and many in one chunk', async () => {
    const bytes = Buffer.concat([wire.query('SELECT 1'), x.parse('', 'SELECT 2'), x.bind(''), x.execute(), x.sync, wire.query('SELECT 3')])
    for (const byte of bytes) {
      a.send(Buffer.from([byte]))
      if (byte === 0) await sleep(1)
    }
    const values = []
    for (let i = 0; i < 3; i++) values.push((await a.result()).rows[0][0])
    a.send(...Array(20).fill(bytes))
    for (let i = 0; i < 60; i++) values.push((await a.result()).rows[0][0])
    assert.deepEqual(values, Array(21).fill(['1', '2', '3']).flat())
  })

  test('several statements in one query, and an error that takes all of them back', async () => {
    await empty()
    assert.deepEqual((await a.query("INSERT INTO t VALUES (1); SELECT 2; SELECT 3")).rows, [['2'], ['3']])
    const failed = await a.query('INSERT INTO t VALUES (2); SELECT 1/0; INSERT INTO t VALUES (3)')
    assert.deepEqual([failed.error.C, failed.status, await rows()], ['22012', 'I', [1]])
  })

  test('transactions never interleave', async () => {
    await empty()
    await a.query('BEGIN')
    await a.query('INSERT INTO t VALUES (1)')
    b.send(wire.query('INSERT INTO t VALUES (2)'))
    await a.query('INSERT INTO t VALUES (3)')
    await sleep(100)
    assert.deepEqual(await rows(a), [1, 3])
    assert.equal((await a.query('ROLLBACK')).status, 'I')
    await b.result()
    assert.deepEqual(await rows(), [2])
  })

  test('an error inside a transaction', async () => {
    await a.query('BEGIN')
    assert.equal((await a.query('SELECT 1/0')).status, 'E')
    assert.equal((await a.query('SELECT 1')).error.C, '25P02')
    assert.deepEqual((await a.query('COMMIT')).tags, ['ROLLBACK'])
  })

  test('a waiting client is refused after the limit, in every way of asking', async () => {
    await a.query('BEGIN')
    assert.deepEqual([(await b.query('SELECT 1')).error.C], ['55P03'])
    b.send(x.parse('', 'SELECT 1'), x.bind(''), x.execute(), x.sync)
    assert.equal((await b.result()).types, 'EZ')
    b.send(x.parse('', 'SELECT 1'), x.describe(''), x.flush)
    await b.until('E')
    b.send(x.bind(''), x.execute(), x.sync)
    assert.equal((await b.result()).types, 'Z')
    const late = await bridge.open()
    late.send(startupPacket({ search_path: 'public' }))
    assert.equal(summary(await late.until('E')).error.C, '55P03')
    await a.query('ROLLBACK')
    assert.equal(await b.value('SELECT 5'), '5')
  })

  test('cancelling reaches a waiting client', async () => {
    const key = b.greeting.find((message) => wire.typeOf(message) === 'K')
    const cancel = async (secret) => (await bridge.open()).send(wire.int32(16), wire.int32(80877102), key.subarray(5, 9), secret)
    await a.query('BEGIN')
    b.send(wire.query('SELECT 1'))
    await cancel(wire.int32(0))
    await sleep(100)
    assert.equal(b.received.length, 0)
    await cancel(key.subarray(9, 13))
    assert.equal((await b.result()).error.C, '57014')
    await a.query('ROLLBACK')
  })

  test('prepared statements of the same name are different ones', async () => {
    for (const [client, value] of [[a, '1'], [b, '2']]) {
      client.send(x.parse('s', `SELECT ${value}`), x.sync)
      await client.result()
      await client.query(`PREPARE p AS SELECT ${value}0`)
    }
    for (const [client, value] of [[a, '1'], [b, '2']]) {
      client.send(x.bind('s'), x.execute(), x.sync)
      assert.equal((await client.result()).rows[0][0], value)
      assert.equal(await client.value('EXECUTE p'), value + '0')
    }
    assert.deepEqual((await a.query('DEALLOCATE ALL')).tags, ['DEALLOCATE ALL'])
    assert.equal((await a.query('EXECUTE p')).error.C, '26000')
    assert.equal(await b.value('EXECUTE p'), '20')
    assert.deepEqual((await b.query('DISCARD ALL')).tags, ['DISCARD ALL'])
    assert.equal((await b.query('EXECUTE p')).error.C, '26000')
    await b.query('BEGIN')
    assert.equal((await b.query('DISCARD ALL')).error.C, '25001')
    await b.query('ROLLBACK')
  })

  test('the unnamed statement is each client\'s own', async () => {
    a.send(x.parse('', 'SELECT 1'), x.sync)
    b.send(x.parse('', 'SELECT 2'), x.sync)
    await Promise.all([a.result(), b.result()])
    for (const [client, value] of [[a, '1'], [b, '2']]) {
      client.send(x.bind(''), x.execute(), x.sync)
      assert.equal((await client.result()).rows[0][0], value)
    }
  })

  test('preparing with Flush and no Sync keeps nobody waiting', async () => {
    for (const client of [a, b]) {
      client.send(x.parse('f', 'SELECT 7'), x.describe('f'), x.flush)
      await client.until('T')
    }
    for (const client of [b, a]) {
      client.send(x.bind('f'), x.execute(), x.sync)
      assert.equal((await client.result()).rows[0][0], '7')
    }
    a.send(x.parse('bad', 'SELECT nonsense'), x.describe('bad'), x.flush)
    await a.until('E')
    a.send(x.sync)
    assert.equal((await a.result()).types, 'Z')
  })

  test('an extended batch is one transaction, and its error skips the rest', async () => {
    await empty()
    const insert = (id) => [x.parse('', `INSERT INTO t VALUES (${id})`), x.bind(''), x.execute()].flat()
    a.send(...insert(1), ...insert(1), ...insert(2), x.sync)
    const { types, status } = await a.result()
    assert.deepEqual([types, status, await rows()], ['12C12EZ', 'I', []])
    a.send(x.parse('i', 'INSERT INTO t VALUES ($1)'), ...['4', '5', '4', '6'].flatMap((id) => [x.bind('i', [id]), x.execute()]), x.sync)
    assert.equal((await a.result()).types, '12C2C2EZ')
    assert.deepEqual(await rows(), [])
  })

  test('portals fetch in pieces and DECLAREd cursors work', async () => {
    await a.query('BEGIN')
    const some = wire.message('E', wire.cstring('c'), wire.int32(2))
    a.send(x.parse('', 'SELECT generate_series(1, 3)'), x.bind('', [], 'c'), some, some, x.sync)
    assert.equal((await a.result()).types, '12DDsDCZ')
    await a.query('DECLARE d CURSOR FOR SELECT 1')
    assert.equal(await a.value('FETCH d'), '1')
    await a.query('COMMIT')
  })

  const gone = {
    'in a transaction': async (client) => client.query('BEGIN; INSERT INTO t VALUES (1)'),
    'in a failed transaction': async (client) => client.query('BEGIN; INSERT INTO t VALUES (1); SELECT 1/0'),
    'in an extended batch': async (client) => {
      client.send(x.parse('', 'INSERT INTO t VALUES (1)'), x.bind(''), x.execute(), x.flush)
      await client.until('C')
    },
    'in a COPY': async (client) => {
      client.send(wire.query('COPY t FROM STDIN'))
      await client.until('G')
      client.send(wire.message('d', Buffer.from('1\tx\n')))
    },
  }
  for (const [where, begin] of Object.entries(gone)) {
    for (const way of ['destroy', 'end']) {
      test(`a client that disappears ${where} (${way}) is rolled back`, async () => {
        await empty()
        const client = await bridge.connect()
        await begin(client)
        client.socket[way]()
        assert.deepEqual(await rows(), [])
        assert.equal((await b.query('SELECT 1')).status, 'I')
      })
    }
  }

  test('Terminate while waiting, and what was sent before it counts', async () => {
    await empty()
    const client = await bridge.connect()
    await a.query('BEGIN')
    client.send(wire.query('INSERT INTO t VALUES (1)'), wire.message('X'))
    const idle = await bridge.connect()
    await idle.end() // needs no turn
    await a.query('COMMIT')
    await client.closed
    assert.deepEqual(await rows(), [1])
  })

  test('what only one database can do', async () => {
    for (const sql of ['CREATE DATABASE x', 'DROP DATABASE x']) {
      const { error } = await a.query(sql)
      assert.equal(error.C, '0A000')
      assert.match(error.M, /one database/)
    }
    a.send(x.parse('', 'CREATE DATABASE x'), x.bind(''), x.execute(), x.sync)
    assert.equal((await a.result()).error.C, '0A000')
    assert.equal((await a.query("SET client_encoding TO 'LATIN1'")).error.C, '0A000')
  })

  test('CONCURRENTLY and VACUUM', async () => {
    for (const sql of ['CREATE INDEX CONCURRENTLY i ON t (v)', 'REINDEX INDEX CONCURRENTLY i', 'DROP INDEX CONCURRENTLY i', 'VACUUM t', 'VACUUM ANALYZE', 'CHECKPOINT']) {
      assert.equal((await a.query(sql)).error, undefined, sql)
    }
  })

  test('a broken message ends its client and no other', async () => {
    for (const bytes of [Buffer.from([0x7a, 0, 0, 0, 4]), Buffer.from([0x42, 0, 0, 0, 5, 65]), Buffer.from([0x51, 0, 0, 0, 1]), wire.message('p', Buffer.from('x'))]) {
      const client = await bridge.connect()
      await client.query('BEGIN')
      client.send(bytes)
      assert.equal(summary(await client.until('E')).error.S, 'FATAL')
      await client.closed
      assert.equal(await b.value('SELECT 1'), '1')
    }
  })
})
