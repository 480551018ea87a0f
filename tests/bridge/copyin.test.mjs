import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CopyIn } from '../../datalayer/embedded/bridge/src/copy.mjs'
import * as wire from '../../datalayer/embedded/bridge/src/wire.mjs'

const DATA = wire.message('d', Buffer.from('1\n'))
const DONE = wire.message('c')
const COMMAND = wire.query('COPY t FROM STDIN')

function gathered(copy) {
  const parts = []
  for (let part; (part = copy.spool.take(1000)).length; ) parts.push(part)
  return Buffer.concat(parts)
}

test('data is gathered up to the end, Flush and Sync are ignored', () => {
  const copy = new CopyIn(COMMAND, {})
  assert.deepEqual([copy.take('d', DATA), copy.take('S', wire.SYNC), copy.take('d', DATA), copy.take('c', DONE)], [false, false, false, true])
  assert.ok(gathered(copy).equals(Buffer.concat([COMMAND, DATA, DATA, DONE])))
})

test('a full disk or a stray message fails the COPY', () => {
  const full = new CopyIn(COMMAND, {})
  full.spool.append = () => { throw new Error('ENOSPC') }
  assert.deepEqual([full.take('d', DATA), full.take('d', DATA), full.take('c', DONE)], [false, false, true])
  assert.ok(gathered(full).equals(Buffer.concat([COMMAND, wire.copyFail('could not keep the data: ENOSPC')])))
  const stray = new CopyIn(COMMAND, {})
  assert.equal(stray.take('Q', COMMAND), true)
  assert.match(gathered(stray).toString('latin1'), /unexpected message/)
})
