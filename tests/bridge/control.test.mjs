import assert from 'node:assert/strict'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import readline from 'node:readline'
import { after, before, test } from 'node:test'
import { Control } from '../../datalayer/embedded/bridge/src/control.mjs'
import { temporaryFolder } from './support/bridge.mjs'

const folder = temporaryFolder()
const address = path.join(folder, 'control.sock')
let control
let ends

before(() => {
  ends = 0
  control = new Control({}, () => ends++)
  return new Promise((resolve) => control.server.listen(address, resolve))
})
after(() => {
  control.server.close()
  fs.rmSync(folder, { recursive: true })
})

async function ask(op) {
  const socket = net.connect(address)
  socket.write(JSON.stringify({ op }) + '\n')
  const line = await new Promise((resolve) => readline.createInterface({ input: socket }).once('line', resolve))
  return { socket, answer: JSON.parse(line) }
}

test('an end drops the leases, and none is granted any more: its holder would believe in a process that is gone', async () => {
  const { socket, answer } = await ask('lease')
  assert.deepEqual([answer, control.leases], [{ ok: true }, 1])
  const dropped = new Promise((resolve) => socket.once('close', resolve))
  control.end()
  const late = await ask('lease')
  assert.equal(late.answer.ok, false)
  await dropped
  assert.deepEqual([control.leases, ends], [0, 1])
  late.socket.destroy()
})
