import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseOptions } from '../../datalayer/embedded/bridge/src/options.mjs'
import { Spool } from '../../datalayer/embedded/bridge/src/spool.mjs'

function drain(spool, size) {
  const parts = []
  for (let part; (part = spool.take(size)).length; ) parts.push(part)
  return Buffer.concat(parts)
}

for (const megabytes of [1, 40]) {
  test(`${megabytes} MB come out of a spool as they went in`, () => {
    const spool = new Spool()
    const piece = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => i * 31))
    for (let i = 0; i < megabytes; i++) spool.append(piece)
    assert.equal(spool.length, megabytes << 20)
    assert.ok(drain(spool, 100_000).equals(Buffer.concat(Array(megabytes).fill(piece))))
    assert.equal(spool.length, 0)
    spool.append(Buffer.from('more'))
    assert.equal(spool.take(10).toString(), 'more')
    spool.close()
  })
}

const ARGS = ['--runtime', '/r', '--data', 'memory', '--socket-dir', '/s']

test('options', () => {
  const options = parseOptions([...ARGS, '--tcp-port', '0'], { DATALAYER_EMBEDDED_PASSWORD: 'x' })
  assert.deepEqual([options.data, options.tcpPort, options.lifetime, options.waitTimeout], [null, 0, 'leases', 30_000])
  assert.throws(() => parseOptions([...ARGS, '--tcp-port', '0'], {}), /DATALAYER_EMBEDDED_PASSWORD/)
  assert.throws(() => parseOptions([...ARGS, '--wait-timeout-ms', 'soon'], {}), /whole number/)
  assert.throws(() => parseOptions([...ARGS, '--lifetime', 'long'], {}), /--lifetime/)
  assert.throws(() => parseOptions(['--data', 'memory'], {}), /--runtime is required/)
})
