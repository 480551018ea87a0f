// Who has the one session, who waits for it, and what is done when nobody has it.
import crypto from 'node:crypto'
import { Belongings } from './belongings.mjs'
import { Client } from './client.mjs'
import { Locks } from './locks.mjs'
import { Settings } from './settings.mjs'
import { quote } from './statements.mjs'
import * as wire from './wire.mjs'

const SLICE = 50
const BUSY = '55P03'
const WAL_DUE = `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), redo_lsn) > 48 * 1024 * 1024 FROM pg_control_checkpoint()`

export class Scheduler {
  clients = new Map()
  #owner = null
  #current = null // whose settings and locks are loaded; stays until another client needs the session
  #waiting = []
  #departed = []
  #relisten = false
  #scheduled = false
  #lastId = 0
  #stopped = false

  constructor(backend, { waitTimeout, onCrash }) {
    Object.assign(this, { backend, waitTimeout, onCrash })
    this.settings = new Settings(backend)
    this.belongings = new Belongings(backend)
    this.locks = new Locks(backend, this.clients)
    setInterval(() => this.#refuseLate(), Math.min(250, waitTimeout)).unref()
  }

  get busy() {
    return this.#owner !== null || this.#waiting.length > 0
  }

  admit(outbox) {
    const client = new Client({ id: ++this.#lastId, secret: crypto.randomInt(1, 2 ** 31 - 1), outbox, hub: this })
    this.clients.set(client.id, client)
    return client
  }

  /** Most start-up parameters can only be checked by the backend: `welcome` or `refuse` comes when it is this client's turn. */
  start(client, parameters, welcome, refuse) {
    if ([...parameters.keys()].every((name) => name === 'application_name')) {
      client.startup = parameters
      return welcome()
    }
    const task = () => {
      try {
        this.#switchTo(null)
        this.settings.start(client, parameters)
        this.#switchTo(client)
        welcome()
      } catch (error) {
        if (!error.code) throw error
        refuse(error)
      }
    }
    task.refuse = refuse
    client.queue.push(task)
    this.submit(client)
  }

  receive(client, message) {
    if (client.skipping && client !== this.#owner) return this.#skip(client, message)
    if (message[0] === 0x58 && client !== this.#owner && !client.queue.length) return this.#depart(client)
    client.queue.push(message)
    this.submit(client)
  }

  /** The connection is closed, or about to be: what it sent before still counts, as with any server. */
  end(client) {
    if (!client.gone && this.clients.has(client.id)) this.receive(client, wire.message('X'))
  }

  submit(client) {
    if (client !== this.#owner && client.queue.length && !this.#waiting.includes(client)) {
      client.since = performance.now()
      this.#waiting.push(client)
    }
    this.#schedule()
  }

  /** The client has read what kept it back. */
  drained(client) {
    client.since = performance.now()
    this.submit(client)
  }

  cancel(id, secret) {
    const client = this.clients.get(id)
    if (client?.secret === secret && this.#waiting.includes(client)) {
      this.#refuse(client, '57014', 'canceling statement due to user request')
    }
  }

  notify(message, from) {
    const [channel] = wire.readCString(message, 9)
    message.writeInt32BE(from, 5)
    for (const client of this.clients.values()) if (client.listens.has(channel)) client.outbox.send(message)
  }

  /** An UNLISTEN of one client silenced the session for the others too. */
  relisten() {
    this.#relisten ||= [...this.clients.values()].some((client) => client.listens.size)
  }

  /** Runs `work` with nobody's settings if the session is free; says whether it was. */
  whenIdle(work) {
    if (this.busy || this.#stopped) return false
    this.#guard(() => {
      this.#switchTo(null)
      work(this.backend)
    })
    return true
  }

  /** Nothing else does: WAL would grow for ever, and so would recovery. */
  checkpoint() {
    this.whenIdle((backend) => backend.query(WAL_DUE)[0][0] === 't' && backend.query('CHECKPOINT'))
  }

  /** For tests of the way down. */
  crash() {
    this.#guard(() => this.backend.trap())
  }

  stop(code, text) {
    this.#stopped = true
    for (const client of this.clients.values()) {
      client.outbox.send(wire.errorResponse('FATAL', code, text))
      client.outbox.end()
    }
  }

  #schedule() {
    if (this.#scheduled || this.#stopped) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#guard(() => this.#pump())
    })
  }

  #guard(work) {
    try {
      if (!this.#stopped) work()
    } catch (error) {
      this.onCrash(error)
    }
  }

  #pump() {
    const until = performance.now() + SLICE
    while (this.#owner ?? this.#next()) {
      if (!this.#serve(this.#owner, until)) return
      const client = this.#owner
      this.#owner = null
      if (client.gone) this.#depart(client)
      else this.belongings.book(client)
      this.submit(client)
    }
  }

  /** Steps the owner until it gives the session up (true), has nothing more to do, or its slice of time is over. */
  #serve(client, until) {
    while (client.ready) {
      this.#step(client)
      if (client.idle && this.#waiting.length) return true
      if (performance.now() > until) return void this.#schedule()
    }
    return client.idle
  }

  /** What one client gets wrong ends that client only. */
  #step(client) {
    try {
      client.outbox.together(() => client.step())
    } catch (error) {
      if (!(error instanceof wire.ProtocolError)) throw error
      client.outbox.send(wire.errorResponse('FATAL', error.code, error.message))
      client.leave()
    }
    client.onStep?.()
  }

  #next() {
    this.#tidy()
    const at = this.#waiting.findIndex((client) => client.ready)
    if (at < 0) return null
    this.#owner = this.#waiting.splice(at, 1)[0]
    this.#admitOwner(this.#owner)
    return this.#owner
  }

  /** What a client has SET may be gone meanwhile, as a role that another one dropped: that ends this client only. */
  #admitOwner(client) {
    try {
      this.#switchTo(client)
    } catch (error) {
      if (!error.code) throw error
      this.settings.switchTo(null)
      client.outbox.send(wire.errorResponse('FATAL', error.code, `the settings of this session cannot be restored: ${error.message}`))
      client.leave()
    }
  }

  #switchTo(client) {
    if (client === this.#current) return
    if (this.#current) this.locks.leave(this.#current)
    this.#current = null // should the rest fail
    this.settings.switchTo(client)
    this.#current = client
    if (client) this.locks.enter(client)
  }

  #tidy() {
    if (this.#departed.length) this.#switchTo(null)
    for (const client of this.#departed.splice(0)) client.forget()
    if (this.#relisten) this.#listenAgain()
  }

  #listenAgain() {
    this.#relisten = false
    const channels = new Set([...this.clients.values()].flatMap((client) => [...client.listens]))
    this.backend.query([...channels].map((name) => `LISTEN ${quote(name)}`).join('; '))
  }

  #depart(client) {
    client.gone = true
    client.queue = []
    client.outbox.end()
    if (this.clients.delete(client.id)) this.#departed.push(client)
    this.#schedule()
  }

  #refuseLate() {
    const now = performance.now()
    const late = this.#waiting.filter((client) => client.ready && now - client.since > this.waitTimeout)
    const text = `the embedded TimescaleDB is busy: another connection has held a transaction open for over ${this.waitTimeout} ms`
    for (const client of late) this.#refuse(client, BUSY, text)
  }

  /** Answers a waiting client with an error in place of its next request. */
  #refuse(client, code, text) {
    if (client.queue[0].refuse) return client.queue.shift().refuse(new wire.ProtocolError(code, text))
    const at = client.queue.findIndex((message) => 'QSH'.includes(wire.typeOf(message)))
    if (at < 0) return
    const [request] = client.queue.splice(0, at + 1).slice(-1)
    client.outbox.send(wire.errorResponse('ERROR', code, text))
    if (wire.typeOf(request) === 'H') this.#skipQueued(client)
    else client.outbox.send(wire.readyForQuery('I'))
    client.since = performance.now()
    if (!client.queue.length) this.#waiting.splice(this.#waiting.indexOf(client), 1)
  }

  /** After an error at a Flush everything up to the Sync is skipped, as a backend would. */
  #skipQueued(client) {
    client.skipping = true
    for (const message of client.queue.splice(0)) {
      if (client.skipping) this.#skip(client, message)
      else client.queue.push(message)
    }
  }

  #skip(client, message) {
    const type = wire.typeOf(message)
    if (type === 'X') return this.#depart(client)
    if (type !== 'S') return
    client.skipping = false
    client.outbox.send(wire.readyForQuery('I'))
  }
}
