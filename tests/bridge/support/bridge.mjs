// Starts real bridges for tests and speaks raw protocol to them.
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'
import * as wire from '../../../datalayer/embedded/bridge/src/wire.mjs'

const MAIN = fileURLToPath(new URL('../../../datalayer/embedded/bridge/src/main.mjs', import.meta.url))
const RUNTIME = process.env.DATALAYER_EMBEDDED_RUNTIME
export const skip = RUNTIME ? false : 'DATALAYER_EMBEDDED_RUNTIME is not set'

export function temporaryFolder() {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'bridge-'))
}

export class Bridge {
  static async start({ data = 'memory', args = ['--lifetime', 'daemon'], env = {}, folder = temporaryFolder() } = {}) {
    const bridge = new Bridge()
    bridge.folder = folder
    const options = ['--runtime', RUNTIME ?? '', '--data', data, '--socket-dir', folder, ...args]
    bridge.process = spawn(process.execPath, ['--stack-size=4000', MAIN, ...options], {
      env: { ...process.env, DATALAYER_EMBEDDED_TEST: '1', ...env },
    })
    bridge.errors = ''
    bridge.process.stderr.on('data', (text) => (bridge.errors += text))
    bridge.exited = new Promise((resolve) => bridge.process.once('exit', (code, signal) => resolve(code ?? signal)))
    bridge.lines = []
    for await (const line of readline.createInterface({ input: bridge.process.stdout })) {
      bridge.lines.push(JSON.parse(line))
      if (!bridge.lines.at(-1).phase) break
    }
    bridge.ready = bridge.lines.at(-1)
    return bridge
  }

  async connect(parameters = {}, options = {}) {
    const wired = await this.open(options)
    await wired.startup(parameters)
    return wired
  }

  open({ port } = {}) {
    const socket = net.connect(port ? { port, host: '127.0.0.1' } : { path: path.join(this.folder, '.s.PGSQL.5432') })
    return new Promise((resolve, reject) => socket.once('error', reject).once('connect', () => resolve(new Wire(socket))))
  }

  async control(op, keep = false) {
    const socket = net.connect(path.join(this.folder, 'control.sock'))
    socket.write(JSON.stringify({ op }) + '\n')
    const [line] = await new Promise((resolve, reject) => {
      socket.on('error', reject)
      readline.createInterface({ input: socket }).once('line', (text) => resolve([text]))
    })
    if (!keep) socket.end()
    return keep ? socket : JSON.parse(line)
  }

  async stop() {
    this.process.kill('SIGTERM')
    const code = await this.exited
    fs.rmSync(this.folder, { recursive: true, force: true })
    return code
  }
}

/** A connection that can do anything a driver would not. */
export class Wire {
  #framer = new wire.Framer()
  #waiting = null
  received = []

  constructor(socket) {
    this.socket = socket
    this.closed = new Promise((resolve) => socket.once('close', resolve))
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      this.#framer.push(bytes)
      for (let message; (message = this.#framer.next()); ) this.received.push(Buffer.from(message))
      this.#waiting?.()
    })
    socket.on('close', () => this.#waiting?.())
  }

  send(...messages) {
    this.socket.write(Buffer.concat(messages))
  }

  /** The messages up to and including the first of this type; rejects when the connection closes before. */
  async until(type, limit = 20_000) {
    const end = Date.now() + limit
    for (let at = 0; ; ) {
      while (at < this.received.length && wire.typeOf(this.received[at]) !== type) at++
      if (at < this.received.length) return this.received.splice(0, at + 1)
      if (this.socket.destroyed) throw new Error('connection closed')
      const left = end - Date.now()
      if (left <= 0) throw new Error(`no ${type} came; got ${this.received.length} messages, the last ${this.received.slice(-20).map(wire.typeOf).join('')}`)
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#waiting = () => (clearTimeout(timer), resolve())
      })
    }
  }

  async startup(parameters = {}, version = 3 << 16) {
    this.send(startupPacket(parameters, version))
    this.greeting = await this.until('Z')
    return this.greeting
  }

  /** Runs a simple query: {rows, tags, error, status, messages}. */
  async query(sql) {
    this.send(wire.query(sql))
    return this.result()
  }

  async result() {
    return summary(await this.until('Z'))
  }

  async value(sql) {
    const { rows, error } = await this.query(sql)
    if (error) throw new Error(`${error.C} ${error.M}`)
    return rows[0]?.[0]
  }

  end() {
    this.send(wire.message('X'))
    return this.closed
  }
}

export function startupPacket(parameters = {}, version = 3 << 16) {
  const pairs = Object.entries({ user: 'tester', ...parameters }).flat().map(wire.cstring)
  const body = Buffer.concat([wire.int32(version), ...pairs, Buffer.from([0])])
  return Buffer.concat([wire.int32(body.length + 4), body])
}

export function summary(messages) {
  const of = (type) => messages.filter((message) => wire.typeOf(message) === type)
  const [error] = of('E')
  return {
    types: messages.map(wire.typeOf).join(''),
    rows: of('D').map(wire.dataRow),
    tags: of('C').map((message) => wire.readCString(message, 5)[0]),
    parameters: Object.fromEntries(of('S').map((message) => pair(message))),
    error: error && wire.errorFields(error),
    status: of('Z').map((message) => String.fromCharCode(message[5])).at(-1),
    messages,
  }
}

function pair(message) {
  const [name, at] = wire.readCString(message, 5)
  return [name, wire.readCString(message, at)[0]]
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** The usual extended-protocol messages. */
export const extended = {
  parse: (name, sql) => wire.parse(name, sql),
  bind: (name, values = [], portal = '') =>
    wire.message('B', wire.cstring(portal), wire.cstring(name), Buffer.alloc(2), ...parameters(values), Buffer.alloc(2)),
  describe: (name) => wire.message('D', Buffer.from('S'), wire.cstring(name)),
  execute: (portal = '') => wire.message('E', wire.cstring(portal), wire.int32(0)),
  sync: wire.SYNC,
  flush: wire.message('H'),
}

function parameters(values) {
  const count = Buffer.alloc(2)
  count.writeInt16BE(values.length)
  return [count, ...values.flatMap((value) => [wire.int32(Buffer.byteLength(value)), Buffer.from(value)])]
}
