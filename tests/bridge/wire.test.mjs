import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as wire from '../../datalayer/embedded/bridge/src/wire.mjs'
import { startupPacket } from './support/bridge.mjs'

function frames(framer, bytes, size) {
  const found = []
  for (let at = 0; at < bytes.length; at += size) {
    framer.push(bytes.subarray(at, at + size))
    for (let message; (message = framer.next()); ) found.push(message.toString('latin1'))
  }
  return found
}

test('messages are found wherever the stream was cut', () => {
  const sent = [wire.query('SELECT 1'), wire.SYNC, wire.parse('name', 'SELECT $1'), wire.query('x'.repeat(5000))]
  for (const size of [1, 2, 3, 5, 7, 64, 4096, 1e6]) {
    assert.deepEqual(frames(new wire.Framer(), Buffer.concat(sent), size), sent.map((message) => message.toString('latin1')))
  }
})

test('the startup packet has no type byte', () => {
  const framer = new wire.Framer(false)
  framer.push(Buffer.concat([startupPacket({ database: 'd' }), wire.SYNC]))
  const { kind, parameters, newer } = wire.startupPacket(framer.next())
  framer.typed = true
  assert.deepEqual([kind, newer, Object.fromEntries(parameters)], ['startup', false, { user: 'tester', database: 'd' }])
  assert.equal(wire.typeOf(framer.next()), 'S')
})

test('a newer protocol and its options are recognised', () => {
  const packet = wire.startupPacket(startupPacket({ '_pq_.new': '1' }, (3 << 16) | 2))
  assert.deepEqual([packet.newer, packet.unknown], [true, ['_pq_.new']])
})

test('impossible lengths are refused before anything is gathered', () => {
  const framer = new wire.Framer()
  framer.push(Buffer.from([0x51, 0x7f, 0xff, 0xff, 0xff]))
  assert.throws(() => framer.next(), { code: '54000' })
  const short = new wire.Framer()
  short.push(Buffer.from([0x51, 0, 0, 0, 3]))
  assert.throws(() => short.next(), { code: '08P01' })
  const start = new wire.Framer(false)
  start.push(Buffer.from([0, 1, 0, 0]))
  assert.throws(() => start.next(), { code: '08P01' })
})

test('a string without an end is an error', () => {
  assert.throws(() => wire.readCString(Buffer.from('abc'), 0), { code: '08P01' })
})

test('errors and rows are read back', () => {
  assert.deepEqual(wire.errorFields(wire.errorResponse('ERROR', '42601', 'no')), { S: 'ERROR', V: 'ERROR', C: '42601', M: 'no' })
  const row = wire.message('D', Buffer.from([0, 2]), wire.int32(-1), wire.int32(2), Buffer.from('ab'))
  assert.deepEqual(wire.dataRow(row), [null, 'ab'])
})
