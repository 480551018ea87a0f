import assert from 'node:assert/strict'
import fs from 'node:fs'
import { after, before, describe, test } from 'node:test'
import * as wire from '../../datalayer/embedded/bridge/src/wire.mjs'
import { Bridge, extended as x, skip, sleep } from './support/bridge.mjs'

const data = (text) => wire.message('d', Buffer.from(text))
const DONE = wire.message('c')

describe('COPY', { skip }, () => {
  let bridge, a, b
  before(async () => {
    bridge = await Bridge.start()
    a = await bridge.connect()
    b = await bridge.connect()
    await a.query('CREATE TABLE t (id int)')
  })
  after(() => bridge.stop())
  const count = () => b.value('SELECT count(*) FROM t').then(Number)

  async function copy(sql, ...messages) {
    a.send(wire.query(sql))
    await a.until('G')
    a.send(...messages)
    return a.result()
  }

  test('text, in pieces that end anywhere', async () => {
    await a.query('TRUNCATE t')
    assert.deepEqual((await copy('COPY t FROM STDIN', data('1\n2'), data('\n3\n'), DONE)).tags, ['COPY 3'])
    assert.equal(await count(), 3)
  })

  test('binary, there and back', async () => {
    await copy('COPY t FROM STDIN', data('41\n42\n'), DONE)
    const out = (await a.query('COPY t TO STDOUT (FORMAT binary)')).messages.filter((message) => wire.typeOf(message) === 'd')
    await a.query('TRUNCATE t')
    assert.equal((await copy('COPY t FROM STDIN (FORMAT binary)', ...out, DONE)).error, undefined)
    assert.ok((await count()) >= 2)
  })

  test('bad data, CopyFail, a missing table and a stray message: an error, and the connection goes on', async () => {
    await a.query('TRUNCATE t')
    const cases = [
      ['COPY t FROM STDIN', [data('1\nx\n'), ...Array(50).fill(data('2\n'.repeat(1000))), DONE], '22P02'],
      ['COPY t FROM STDIN', [data('1\n'), wire.copyFail('no more')], '57014'],
      ['COPY missing FROM STDIN', [data('1\n'), DONE], '42P01'],
      ['COPY t FROM STDIN (FORMAT binary)', [data('1\n'), DONE], '22P04'],
    ]
    for (const [sql, messages, code] of cases) {
      assert.equal((await copy(sql, ...messages)).error?.C, code)
      assert.equal(await a.value('SELECT 1'), '1')
    }
    const stray = await copy('COPY t FROM STDIN', data('1\n'), wire.query('SELECT 5'))
    assert.ok(stray.error)
    assert.deepEqual((await a.result()).rows, [['5']])
    assert.equal(await count(), 0)
  })

  test('in a transaction with a savepoint', async () => {
    await a.query('TRUNCATE t')
    await a.query('BEGIN; SAVEPOINT s')
    assert.equal((await copy('COPY t FROM STDIN', data('x\n'), DONE)).status, 'E')
    await a.query('ROLLBACK TO s')
    assert.equal((await copy('COPY t FROM STDIN', data('1\n'), DONE)).status, 'T')
    await a.query('COMMIT')
    assert.equal(await count(), 1)
  })

  test('in extended messages', async () => {
    await a.query('TRUNCATE t')
    a.send(x.parse('', 'COPY t FROM STDIN'), x.bind(''), x.execute(), x.sync)
    await a.until('G')
    a.send(data('1\n2\n'), DONE, x.sync)
    assert.deepEqual((await a.result()).tags, ['COPY 2'])
  })

  test('among other statements, but only one in a query', async () => {
    await a.query('TRUNCATE t')
    const result = await copy('SELECT 7; COPY t FROM STDIN; SELECT 8', data('1\n'), DONE)
    assert.deepEqual([result.rows, result.tags], [[['7'], ['8']], ['SELECT 1', 'COPY 1', 'SELECT 1']])
    assert.equal((await a.query('COPY t FROM STDIN; COPY t FROM STDIN')).error.C, '0A000')
  })

  test('a big COPY in does not gather in memory', async () => {
    await a.query('CREATE TABLE big (v text); TRUNCATE t')
    a.send(wire.query("COPY t FROM STDIN"))
    await a.until('G')
    const before = resident()
    for (let i = 0; i < 150; i++) {
      if (!a.socket.write(data(('9'.repeat(999) + '\n').repeat(1000)))) await new Promise((resolve) => a.socket.once('drain', resolve))
    }
    await sleep(300)
    assert.ok(resident() - before < 100, `${resident() - before} MB more`)
    a.send(DONE)
    assert.equal((await a.result()).error.C, '22003')
  })

  test('a slow reader of a big COPY out takes no memory, and keeps nobody waiting', async () => {
    const before = resident()
    const slow = await bridge.connect()
    slow.socket.pause()
    slow.send(wire.query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 200000)) TO STDOUT"), wire.query('SELECT 6'))
    await sleep(500)
    assert.equal(await b.value('SELECT 1'), '1')
    assert.ok(resident() - before < 120, `${resident() - before} MB more`)
    slow.socket.resume()
    const { messages, tags } = await slow.result()
    assert.deepEqual([messages.filter((message) => wire.typeOf(message) === 'd').length, tags], [200_000, ['COPY 200000']])
    assert.deepEqual((await slow.result()).rows, [['6']])
    await slow.end()
  })

  function resident() {
    const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${bridge.process.pid}/status`, 'utf8'))
    return Math.round(kilobytes / 1024)
  }
})
