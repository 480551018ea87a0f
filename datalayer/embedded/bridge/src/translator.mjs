// Makes one client's messages fit the shared session: own names for its statements, and what the bridge does itself.
import { CopyIn } from './copy.mjs'
import { NOTHING_SPECIAL, analyse, failing, rewrite } from './statements.mjs'
import * as wire from './wire.mjs'

const MAX_RUN = 4 * 1024 * 1024
const STATEMENT = 'S'.charCodeAt(0)
const SYNC = STATEMENT

export class Translator {
  statements = new Map() // the facts by the client's name
  portals = new Map() // the facts by the portal's name, which needs no change: portals live in one transaction

  constructor(client) {
    this.client = client
  }

  handle(type, message) {
    const handler = HANDLERS[type]
    if (!handler) throw new wire.ProtocolError('08P01', `invalid frontend message type ${message[0]}`)
    handler.call(this, message)
  }

  /** Takes the run of Bind and Execute of ordinary statements (executemany) at the head of the queue: they go over together, with their Sync. */
  takeRun(queue) {
    const run = []
    for (let size = 0; queue.length && size < MAX_RUN; queue.shift()) {
      const part = this.#plainPart(queue[0])
      if (!part) break
      size += part.length
      run.push(part)
    }
    if (run.length && queue[0]?.[0] === SYNC) run.push(queue.shift())
    return Buffer.concat(run)
  }

  /** Close messages for all statements, which are forgotten with it. */
  closeAll() {
    const names = [...this.statements.keys()]
    this.statements.clear()
    return Buffer.concat(names.map((name) => wire.closeStatement(this.#own(name))))
  }

  query(message) {
    const [sql] = wire.readCString(message, 5)
    const facts = this.#analyse(sql)
    if (facts.copies > 1) return this.client.run(wire.query(failing('0A000', 'only one COPY FROM STDIN fits into one query string')))
    const text = rewrite(sql, facts, (name) => this.#own(name))
    this.#start(text === sql ? message : wire.query(text), facts)
  }

  parse(message) {
    const [name, at] = wire.readCString(message, 5)
    const [sql, rest] = wire.readCString(message, at)
    const facts = this.#analyse(sql)
    if (name === '' && this.statements.delete('')) this.client.silently(wire.closeStatement(this.#own('')))
    this.client.batch = true
    this.client.run(wire.parse(this.#own(name), rewrite(sql, facts, (own) => this.#own(own)), message.subarray(rest)))
    if (!this.client.skipping) this.statements.set(name, facts)
  }

  bind(message) {
    const { portal, name, rest } = readBind(message)
    const facts = this.statements.get(name)
    this.client.batch = this.client.bound = true
    this.portals.set(portal, facts)
    if (facts) this.client.expect(facts)
    return wire.message('B', wire.cstring(portal), wire.cstring(this.#own(name)), rest)
  }

  execute(message) {
    this.client.batch = true
    this.#start(message, this.#portal(message) ?? NOTHING_SPECIAL)
  }

  describe(message) {
    this.client.batch = true
    this.client.run(this.#ownStatement(message))
  }

  close(message) {
    const names = message[5] === STATEMENT ? this.statements : this.portals
    names.delete(wire.readCString(message, 6)[0])
    this.describe(message)
  }

  sync(message) {
    this.client.skipping = false
    this.client.run(message)
  }

  /** asyncpg prepares with Parse, Describe, Flush and no Sync; nothing would be lost, so don't keep the session for it. */
  flush(message) {
    const { transaction, batch, bound } = this.client
    if (transaction !== 'I' || !batch || bound) return this.client.run(message)
    this.client.silently(wire.SYNC)
    this.client.batch = false
  }

  #start(message, facts) {
    if (!facts.copies) return this.client.run(message, facts)
    this.client.copy = new CopyIn(message, facts)
    this.client.outbox.send(wire.copyInResponse(facts.binary))
  }

  #plainPart(message) {
    const type = wire.typeOf(message)
    if (type === 'E') return this.#portal(message)?.plain ? message : null
    if (type !== 'B') return null
    return this.statements.get(readBind(message).name)?.plain ? this.bind(message) : null
  }

  /** In a transaction DISCARD ALL fails: there the backend's own error is the right one. */
  #analyse(sql) {
    let facts = analyse(sql)
    if (facts.actions.includes('DISCARD ALL') && this.client.transaction !== 'I') facts = NOTHING_SPECIAL
    this.client.expect(facts)
    for (const { name } of facts.names) if (!this.statements.has(name)) this.statements.set(name, NOTHING_SPECIAL)
    return facts
  }

  #portal(execute) {
    return this.portals.get(wire.readCString(execute, 5)[0])
  }

  #own(name) {
    return `${this.client.id}:${name}`
  }

  #ownStatement(message) {
    if (message[5] !== STATEMENT) return message
    const name = this.#own(wire.readCString(message, 6)[0])
    return wire.message(wire.typeOf(message), message.subarray(5, 6), wire.cstring(name))
  }
}

const HANDLERS = {
  Q: Translator.prototype.query,
  P: Translator.prototype.parse,
  B(message) {
    this.client.run(this.bind(message))
  },
  E: Translator.prototype.execute,
  D: Translator.prototype.describe,
  C: Translator.prototype.close,
  S: Translator.prototype.sync,
  H: Translator.prototype.flush,
  F(message) {
    this.client.run(message) // function call
  },
}

function readBind(message) {
  const [portal, at] = wire.readCString(message, 5)
  const [name, rest] = wire.readCString(message, at)
  return { portal, name, rest: message.subarray(rest) }
}
