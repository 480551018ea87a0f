import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import * as wire from '../../datalayer/embedded/bridge/src/wire.mjs'
import { Bridge, skip, sleep, startupPacket, summary, temporaryFolder } from './support/bridge.mjs'
import { answerChallenge, initialResponse } from './support/scram.mjs'

const mode = (file) => (fs.statSync(file).mode & 0o777).toString(8)
const DAEMON = ['--lifetime', 'daemon']

describe('the process', { skip }, () => {
  const home = temporaryFolder()
  const data = path.join(home, 'data')
  after(() => fs.rmSync(home, { recursive: true, force: true }))

  test('a new folder is made beside its place, over what a killed start left, and is private', async () => {
    fs.mkdirSync(`${data}.initialising/data/base`, { recursive: true })
    const bridge = await Bridge.start({ data })
    assert.deepEqual(bridge.lines.map((line) => line.phase ?? 'ready'), ['loading', 'initialising', 'ready'])
    assert.deepEqual([bridge.ready.postgres, bridge.ready.timescaledb, bridge.ready.license, bridge.ready.tcp_port], ['17.5', '2.23.0-dev', 'timescale', null])
    assert.deepEqual([mode(data), mode(path.join(bridge.folder, '.s.PGSQL.5432')), mode(path.join(bridge.folder, 'control.sock'))], ['700', '600', '600'])
    assert.deepEqual(fs.readdirSync(home), ['data'])
    const client = await bridge.connect()
    await client.query("CREATE TABLE t (at timestamptz NOT NULL, v int); SELECT create_hypertable('t', 'at')")
    await client.query("INSERT INTO t SELECT '2024-01-01'::timestamptz + i * interval '1 hour', i FROM generate_series(1, 5000) i")
    await client.query("ALTER TABLE t SET (timescaledb.compress); SELECT compress_chunk(c) FROM show_chunks('t') c")
    assert.deepEqual(await bridge.control('stop'), { ok: true })
    assert.equal(summary(await client.until('E')).error.C, '57P01')
    assert.equal(await bridge.exited, 0)
    assert.deepEqual(fs.readdirSync(bridge.folder), [])
  })

  test('compressed rows are there after a reopen; a kill loses nothing that was committed', async () => {
    const bridge = await Bridge.start({ data })
    assert.equal(bridge.lines[1].phase, 'opening')
    const client = await bridge.connect()
    assert.equal(await client.value('SELECT count(*) FROM t'), '5000')
    await client.query("INSERT INTO t VALUES ('2024-02-01', 0)")
    await client.query('BEGIN; DELETE FROM t')
    bridge.process.kill('SIGKILL')
    await bridge.exited
    const again = await Bridge.start({ data, folder: bridge.folder }) // over the sockets the killed one left
    assert.equal(again.lines[1].phase, 'recovering')
    assert.equal(await (await again.connect()).value('SELECT count(*) FROM t'), '5001')
    assert.equal(await again.stop(), 0)
  })

  test('a crash is told to every client, ends the process, and the folder opens again', async () => {
    const bridge = await Bridge.start({ data })
    const clients = [await bridge.connect(), await bridge.connect()]
    await clients[0].query('BEGIN')
    clients[1].send(wire.query('SELECT 1')) // waits
    await bridge.control('crash')
    for (const client of clients) {
      const { S, C, M } = summary(await client.until('E')).error
      assert.deepEqual([S, C], ['FATAL', '57P02'])
      assert.match(M, /^the embedded TimescaleDB crashed \(.+\); the data on disk is safe up to the last commit, reconnect to reopen it$/)
    }
    assert.equal(await bridge.exited, 70)
    const again = await Bridge.start({ data })
    assert.equal(again.ready.ready, true)
    assert.equal(await again.stop(), 0)
  })

  test('what cannot start says so in a sentence', async () => {
    const file = path.join(home, 'file')
    fs.mkdirSync(file)
    fs.writeFileSync(path.join(file, 'x'), '')
    for (const options of [{ data: file }, { args: ['--tcp-port', '0'] }, { args: ['--lifetime', 'x'] }]) {
      const bridge = await Bridge.start(options)
      assert.equal(typeof bridge.ready.error, 'string')
      assert.equal(await bridge.exited, 71)
    }
  })

  test('readers of the output may leave', async () => {
    const bridge = await Bridge.start()
    bridge.process.stdout.destroy()
    bridge.process.stderr.destroy()
    const client = await bridge.connect()
    await client.query("SELECT add_job('missing', '1h')")
    await sleep(100)
    assert.equal(await client.value('SELECT 1'), '1')
    assert.equal(await bridge.stop(), 0)
  })

  test('without a lease it ends, with one it stays', async () => {
    const bridge = await Bridge.start({ args: ['--first-lease-ms', '1500'] })
    const leases = [await bridge.control('lease', true), await bridge.control('lease', true)]
    await sleep(1800)
    leases[0].destroy()
    let status
    do status = await bridge.control('status')
    while (status.leases === 2) // the end of a connection is seen a moment later
    assert.deepEqual([status.ok, status.leases, status.clients, status.data, status.busy], [true, 1, 0, 'memory', false])
    leases[1].destroy()
    assert.equal(await bridge.exited, 0)
    const lonely = await Bridge.start({ args: ['--first-lease-ms', '200'] })
    assert.equal(await lonely.exited, 0)
  })
})

describe('TCP', { skip }, () => {
  let bridge
  before(async () => {
    bridge = await Bridge.start({ args: [...DAEMON, '--tcp-port', '0'], env: { DATALAYER_EMBEDDED_PASSWORD: 'pencil' } })
  })
  after(() => bridge.stop())

  async function login(password) {
    const client = await bridge.open({ port: bridge.ready.tcp_port })
    client.send(startupPacket())
    await client.until('R')
    client.send(initialResponse('nonce'))
    const [challenge] = await client.until('R')
    client.send(answerChallenge(password, 'nonce', challenge.toString('utf8', 9)).response)
    return client
  }

  test('the password opens, a wrong one or none does not', async () => {
    const client = await login('pencil')
    await client.until('Z')
    assert.equal(await client.value('SELECT 1'), '1')
    assert.equal(await client.value("SELECT current_setting('application_name')"), '')
    const wrong = await login('pen')
    const { S, C } = summary(await wrong.until('E')).error
    assert.deepEqual([S, C], ['FATAL', '28P01'])
    await wrong.closed
    const bold = await bridge.open({ port: bridge.ready.tcp_port })
    bold.send(startupPacket(), wire.query('SELECT 1'))
    assert.equal(summary(await bold.until('E')).error.S, 'FATAL')
    await bold.closed
  })

  test('the unix socket needs none, and the password is nowhere to be read', async () => {
    assert.equal(await (await bridge.connect()).value('SELECT 1'), '1')
    assert.doesNotMatch(bridge.errors + JSON.stringify(bridge.lines), /pencil/)
  })
})
