// The state of one client, and its conversation with the shared session.
import { NOTHING_SPECIAL, RESET_USER } from './statements.mjs'
import { Translator } from './translator.mjs'
import * as wire from './wire.mjs'

const NOTHING = Buffer.alloc(0)
const ABORT = Buffer.concat([wire.parse('', 'abort the batch'), wire.SYNC]) // a syntax error, then the end of the batch
const DISCARDED = `CLOSE ALL; ${RESET_USER}; RESET ALL; DISCARD PLANS; DISCARD SEQUENCES; SELECT pg_advisory_unlock_all()`
const DEBUG_NOTICE = /\0M# \d+: / // the build's own chatter about aborted transactions

export class Client {
  queue = []
  transaction = 'I' // as in ReadyForQuery
  batch = false // extended messages since the last Sync
  bound = false // and among them a Bind: there is something to lose
  skipping = false // an extended message failed: nothing counts until Sync
  copy = null
  gone = false
  listens = new Set()
  told = new Map() // the settings the client knows of
  startup = new Map()
  settings = new Map()
  made = {} // kinds of belongings that may have been made
  locking = false
  locks = []
  #translator = new Translator(this)

  constructor({ id, secret, outbox, hub }) {
    Object.assign(this, { id, secret, outbox, hub })
    this.backend = hub.backend
  }

  /** Whether another client may have the session. */
  get idle() {
    return this.transaction === 'I' && !this.batch && !this.copy
  }

  get ready() {
    return this.queue.length > 0 && !this.outbox.congested
  }

  get queued() {
    return this.queue.reduce((sum, message) => sum + message.length, 0)
  }

  /** Handles the next message, or a run of plain ones. */
  step() {
    const run = this.copy || this.skipping ? NOTHING : this.#translator.takeRun(this.queue)
    if (run.length) return this.run(run)
    const message = this.queue.shift()
    if (typeof message === 'function') return message()
    this.#handle(wire.typeOf(message), message)
  }

  #handle(type, message) {
    if (type === 'X') return this.leave()
    if (this.copy) return this.#copying(type, message)
    if ('dcf'.includes(type)) return // left over from a COPY that failed
    if (!this.skipping || type === 'S') this.#translator.handle(type, message)
  }

  #copying(type, message) {
    if (!this.copy.take(type, message)) return
    const { spool, facts } = this.copy
    this.copy = null
    this.run(spool, facts)
    spool.close()
    if (type !== 'c' && type !== 'f') this.#handle(type, message)
  }

  /** What a statement about to run may leave behind. */
  expect(facts) {
    this.made.temporary ||= facts.temporary
    this.made.holds ||= facts.holds
    this.locking ||= facts.locks
    this.hub.settings.watch(facts.settings)
  }

  silently(messages) {
    this.backend.exec(messages, () => {})
  }

  /** Runs messages and passes the answers on; what needs the session itself waits until the backend has returned. */
  run(input, facts = NOTHING_SPECIAL) {
    const framer = new wire.Framer()
    const end = { status: null, failed: false, done: [], actions: [...facts.actions], listen: [...facts.listen] }
    const guard = facts.acquires ? this.hub.locks.guard(this) : null
    this.backend.exec(input, (chunk) => {
      framer.push(chunk)
      const pass = []
      for (let message; (message = framer.next()); ) pass.push(this.#answer(message, end))
      if (guard) guard.keep(pass)
      else this.outbox.send(Buffer.concat(pass))
    })
    if (guard) this.#release(guard, end)
    for (const action of end.done) this.#act(action)
    if (end.status) this.#finish(end.status)
    else if (end.failed) this.skipping = true
  }

  #answer(message, end) {
    switch (wire.typeOf(message)) {
      case 'A':
        this.hub.notify(message, this.id)
        return NOTHING
      case 'C':
        return this.#completed(message, end)
      case 'E':
        end.failed = true
        return message
      case 'Z':
        end.status = String.fromCharCode(message[5])
        return NOTHING
      case 'N':
        return DEBUG_NOTICE.test(message.toString('latin1', 0, 100)) ? NOTHING : message
      case 'G': // sent when the COPY began
      case 'S': // taken from the settings themselves
        return NOTHING
      default:
        return message
    }
  }

  /** Passes on what a statement answered that took an advisory lock, if it may have it. */
  #release(guard, end) {
    const denied = !end.failed && guard.check(this.batch)
    this.outbox.send(Buffer.concat(guard.answers))
    if (!denied) return
    this.silently(this.batch ? wire.parse('', 'abort the batch') : wire.query('abort the transaction'))
    end.failed = true
    if (end.status === 'T') end.status = 'E'
  }

  #completed(message, end) {
    const [tag] = wire.readCString(message, 5)
    if (tag === 'LISTEN' || tag === 'UNLISTEN') this.#listened(end.listen.shift())
    if (tag !== 'DO' || !end.actions.length) return message
    end.done.push(end.actions.shift())
    return wire.commandComplete(end.done.at(-1))
  }

  #listened(fact) {
    if (!fact) return
    if (fact.on) return void this.listens.add(fact.channel)
    if (fact.channel === '*') this.listens.clear()
    else this.listens.delete(fact.channel)
    this.hub.relisten()
  }

  #act(action) {
    if (action === 'DISCARD TEMP') return this.hub.belongings.drop(this, ['temporary'])
    this.#closeStatements()
    if (action !== 'DISCARD ALL') return
    this.backend.query(DISCARDED)
    this.hub.belongings.drop(this)
    this.#listened({ channel: '*' })
  }

  #closeStatements() {
    const messages = this.#translator.closeAll()
    if (messages.length) this.silently(this.batch ? messages : Buffer.concat([messages, wire.SYNC]))
  }

  #finish(status) {
    this.transaction = status
    this.batch = this.bound = this.skipping = false
    if (status === 'I') this.#translator.portals.clear()
    this.outbox.send(Buffer.concat([this.#report(), wire.readyForQuery(status)]))
  }

  greeting() {
    this.told = this.hub.settings.greeting(this)
    return Buffer.concat([...this.told].map(([name, value]) => wire.parameterStatus(name, value)))
  }

  /** ParameterStatus for every reported setting that changed, however it was set. */
  #report() {
    const news = this.hub.settings.news(this.told)
    for (const [name, value] of news) this.told.set(name, value)
    return Buffer.concat(news.map(([name, value]) => wire.parameterStatus(name, value)))
  }

  /** The client is gone: roll back what it had begun. An open batch would be committed by a mere Sync. */
  leave() {
    this.gone = true
    this.queue = []
    this.copy?.spool.close()
    this.copy = null
    if (this.batch || this.skipping) this.silently(ABORT)
    if (this.transaction !== 'I') this.backend.query('ROLLBACK')
    this.transaction = 'I'
    this.batch = this.skipping = false
    this.outbox.end()
  }

  /** Removes the last traces, when the session belongs to nobody. */
  forget() {
    this.#closeStatements()
    this.hub.belongings.drop(this)
    if (!this.listens.size) return
    this.backend.query('UNLISTEN *')
    this.hub.relisten()
  }
}
